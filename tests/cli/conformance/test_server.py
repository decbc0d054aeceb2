"""The kit for servers: our own gateway keeps every rule, and a server that does not is found out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from clarion_cli.conformance.check import Broken, Check, Skipped, expect, run_checks
from clarion_cli.conformance.peer import read
from clarion_cli.conformance.server import CHECKS, Server
from clarion_cli.failure import ExitCode
from clarion_cli.token import Signer
from tests.cli.clarion import SECRET, Clarion
from tests.clients.python.client.gateway import welcome
from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey

SIGNER = Signer(SECRET)


@pytest.fixture
def stack(shared_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    made = make_stack(tmp_path, shared_valkey.url, namespace)
    with made.running():
        yield made


def test_our_gateway_keeps_every_rule(stack: Stack, tmp_path: Path) -> None:
    done = Clarion(tmp_path).run(
        "conformance", "--server", stack.gateways[0].url, "--publisher-url", stack.publisher.url,
        CLARION_JWT_SECRET=SECRET,
    )  # fmt: skip
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result for result in results if result["outcome"] != "kept"] == []
    assert len(results) == len(CHECKS)


async def accept(socket: ServerConnection) -> None:
    """Take every client, say welcome, and answer nothing."""
    await socket.send(json.dumps(welcome(user="somebody", resumed=True)))
    await socket.wait_closed()


@pytest.fixture
async def careless() -> AsyncIterator[str]:
    """A server that takes every client and keeps no rule."""
    async with serve(
        accept, "127.0.0.1", 0, select_subprotocol=lambda _, offered: next(iter(offered), None)
    ) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


async def test_a_careless_server_is_found_out(careless: str) -> None:
    """All that needs no publisher; a server that is this careless may serve without subprotocol."""
    server = Server(careless, SIGNER)
    found = {each.rule: each async for each in run_checks(CHECKS, server, seconds=1.0)}
    outcomes = {outcome: [r for r in found.values() if r.outcome == outcome] for outcome in
                ("kept", "broken", "skipped")}  # fmt: skip
    assert [each.rule for each in outcomes["kept"]] == ["a client without a subprotocol is served"]
    assert all("publisher" in each.detail for each in outcomes["skipped"])
    assert len(outcomes["broken"]) >= 11
    first = found["welcome is the first message, and clarion.v1 is selected"]
    assert first.detail == "expected `user` to be 'conformance', got 'somebody'"


async def test_without_a_secret_checks_are_skipped(careless: str) -> None:
    results = [each async for each in run_checks(CHECKS[:1], Server(careless))]
    assert [(each.outcome, "no secret" in each.detail) for each in results] == [("skipped", True)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"{}", "expected text messages, got a binary one"),
        ("hello", "expected JSON, got 'hello'"),
        ('{"kind":"gap"}', '"kind":"gap"'),
        ('{"kind":"event","id":7}', '"id":7'),
    ],
)
def test_a_message_of_another_form_breaks_the_rule(text: str | bytes, wrong: str) -> None:
    with pytest.raises(Broken, match=wrong):
        read(text)


async def test_each_outcome_is_told() -> None:
    async def kept(_: None) -> None:
        expect(1, 1, "one")

    async def broken(_: None) -> None:
        expect(2, 1, "the number")

    async def skipped(_: None) -> None:
        raise Skipped("no luck")

    checks = [Check(each.__name__, "s", each) for each in (kept, broken, skipped)]
    results = [each async for each in run_checks(checks, None)]
    assert [(each.rule, each.outcome, each.detail) for each in results] == [
        ("kept", "kept", ""),
        ("broken", "broken", "expected the number 1, got 2"),
        ("skipped", "skipped", "no luck"),
    ]


def test_a_url_that_is_none_is_refused(tmp_path: Path) -> None:
    said = Clarion(tmp_path).fails("conformance", "--server", "ftp://x", CLARION_JWT_SECRET=SECRET)
    assert "expected a gateway's URL like" in said


def test_where_nothing_answers_the_command_ends_with_one_line(tmp_path: Path) -> None:
    done = Clarion(tmp_path).run(
        "conformance", "--server", "http://127.0.0.1:1", "--publisher-url", "http://127.0.0.1:1",
        CLARION_JWT_SECRET=SECRET,
    )  # fmt: skip
    assert done.returncode == ExitCode.UNREACHABLE
    assert done.stderr.startswith("clarion: no server answers at ws://127.0.0.1:1/ws: ")
    assert done.stderr.count("\n") == 1


def test_a_publisher_that_is_away_ends_the_command_with_one_line(
    stack: Stack, tmp_path: Path
) -> None:
    done = Clarion(tmp_path).run(
        "conformance", "--server", stack.gateways[0].url, "--publisher-url", "http://127.0.0.1:1",
        CLARION_JWT_SECRET=SECRET,
    )  # fmt: skip
    assert done.returncode == ExitCode.UNREACHABLE
    assert done.stderr.startswith("clarion: ")
    assert done.stderr.count("\n") == 1
