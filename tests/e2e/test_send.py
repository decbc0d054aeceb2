"""`clarion send` against real services: the reply, and an exit code for each way to get none."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from clarion_cli.failure import ExitCode
from tests.cli.clarion import SECRET, Clarion
from tests.e2e.ports import free_port
from tests.e2e.stack import Stack


@pytest.fixture
def clarion(tmp_path: Path) -> Clarion:
    return Clarion(tmp_path)


def send(
    clarion: Clarion, url: str, *arguments: str, **changes: str
) -> subprocess.CompletedProcess[str]:
    return clarion.run("send", "--url", url, *arguments, CLARION_JWT_SECRET=SECRET, **changes)


def test_the_reply_is_one_line_of_json(clarion: Clarion, stack: Stack) -> None:
    url = stack.gateways[0].url
    done = send(clarion, url, "--user", "alice", "chat.message", '{"text": "hi"}')
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    reply = json.loads(line)
    assert (reply["sender"], reply["text"]) == ("alice", "hi")
    own = send(clarion, url, "chat.message", '{"text": "hi"}', CLARION_TOKEN=stack.token("bob"))
    assert json.loads(own.stdout)["sender"] == "bob"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chat.message", '{"text": ""}'), "refused: invalid: data.text"),
        (("chat.nothing",), "refused: unknown_type: expected a type out of: chat.direct"),
        (("chat.direct", '{"to": "bob", "text": "hi"}'), "refused: unauthenticated: expected"),
    ],
)
def test_a_refusal_says_why(
    clarion: Clarion, stack: Stack, arguments: tuple[str, ...], says: str
) -> None:
    done = send(clarion, stack.gateways[0].url, *arguments)
    assert done.returncode == ExitCode.REFUSED
    assert says in done.stderr
    assert done.stdout == ""


def test_a_client_that_is_refused_says_so(clarion: Clarion, stack: Stack) -> None:
    done = send(clarion, stack.gateways[0].url, "chat.message", CLARION_TOKEN="no.token.atall")
    assert done.returncode == ExitCode.REFUSED
    assert "the gateway refused" in done.stderr


def test_no_gateway_no_reply(clarion: Clarion) -> None:
    done = send(clarion, f"http://127.0.0.1:{free_port()}", "chat.message")
    assert done.returncode == ExitCode.UNREACHABLE
    assert "is `clarion up` running?" in done.stderr


def test_what_is_not_json_is_refused_before_anything_is_sent(clarion: Clarion) -> None:
    done = send(clarion, "http://127.0.0.1:1", "chat.message", "hi")
    assert done.returncode == ExitCode.USAGE
    assert "expected JSON" in done.stderr
