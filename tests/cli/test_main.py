"""The command line as a whole: help, usage errors, exit codes; never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from clarion_cli.failure import ExitCode
from tests.cli.clarion import ROOT, SECRET, Clarion, command, environment
from tests.cli.publisher import Publisher
from tests.e2e.ports import free_port

COMMANDS = ("up", "token", "publish", "tail", "users", "connections", "disconnect")


def test_without_arguments_it_tells_what_it_can_do(clarion: Clarion) -> None:
    completed = clarion.run()
    assert completed.returncode == 0
    for name in (*COMMANDS, "bench"):
        assert name in completed.stdout


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("name", [*COMMANDS, "bench"])
def test_every_command_has_help(clarion: Clarion, name: str, option: str) -> None:
    completed = clarion.run(name, option)
    assert completed.returncode == 0
    assert f"Usage: clarion {name}" in completed.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("clarion pub", ["publish"]),
        ("clarion publish --to a", ["all", "authenticated"]),
        ("clarion token --scope users", ["users:disconnect", "users:read", "users:topics"]),
        ("clarion disconnect --re", ["--reason", "--revoke"]),
    ],
)
def test_the_shell_completes(clarion: Clarion, words: str, expected: list[str]) -> None:
    """As the script of `--show-completion` asks for it in bash."""
    completed = clarion.run(
        COMP_WORDS=words, COMP_CWORD=str(words.count(" ")), _CLARION_COMPLETE="complete_bash"
    )
    assert completed.stdout.split() == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nope",), "no such command 'nope' (see `clarion --help`)"),
        (("publish", "a.b"), "missing argument 'JSON' (see `clarion publish --help`)"),
        (("up", "--gateways", "0"), "'--gateways'"),
        (("tail", "--colour"), "no such option: --colour"),
        (("events", "nope"), "invalid value for 'action': 'nope' is not one of 'check', 'list'"),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_help(
    clarion: Clarion, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in clarion.fails(*arguments).lower().replace("'json'", "'JSON'")


def test_bench_hands_over_to_the_benchmarks(clarion: Clarion) -> None:
    completed = clarion.run("bench", "--help")
    assert completed.returncode == 0
    assert "Usage: clarion bench" in completed.stdout
    assert "no such command 'nope'" in clarion.fails("bench", "nope")


def test_bench_names_the_extra_that_it_needs(clarion: Clarion) -> None:
    shadow = clarion.folder / "psutil.py"
    shadow.write_text("raise ModuleNotFoundError(\"No module named 'psutil'\", name='psutil')\n")
    path = os.pathsep.join([str(clarion.folder), str(ROOT)])
    said = clarion.fails("bench", PYTHONPATH=path)
    assert said == "the benchmarks need the module psutil; Clarion's extra `bench` installs it"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("publish", "a.b", "not json"),
        ("publish", "a b", "1"),
        ("publish", "--to", "alice", "a.b", "1"),
        ("publish", "--publisher-url", "127.0.0.1:8080", "a.b", "1"),
        ("tail", "--url", "127.0.0.1:8001"),
        ("tail", "--url", "http://a:8001,http://b:8002"),
        ("token",),
        ("token", "--scope", "everything"),
        ("users", ""),
        ("up", "--handlers", "shop"),
        ("up", "--publisher-port", "70000"),
    ],
)
def test_a_wrong_command_line_has_a_code_of_its_own(
    clarion: Clarion, arguments: tuple[str, ...]
) -> None:
    completed = clarion.run(*arguments, CLARION_JWT_SECRET=SECRET)
    assert completed.returncode == ExitCode.USAGE
    assert completed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, ExitCode.REFUSED),
        (401, ExitCode.REFUSED),
        (403, ExitCode.REFUSED),
        (404, ExitCode.UNREACHABLE),
        (422, ExitCode.REFUSED),
        (429, ExitCode.UNAVAILABLE),
        (503, ExitCode.UNAVAILABLE),
        (200, ExitCode.UNREACHABLE),
    ],
)
def test_the_exit_code_says_whether_to_ask_again(
    clarion: Clarion, publisher: Publisher, status: int, code: ExitCode
) -> None:
    publisher.answer = (status, b"")
    completed = clarion.run("connections", "--publisher-url", publisher.url, CLARION_TOKEN="t")
    assert completed.returncode == code


def test_nobody_at_the_address_has_a_code_of_its_own(clarion: Clarion) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    completed = clarion.run("connections", "--publisher-url", url, CLARION_TOKEN="t")
    assert completed.returncode == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (("token", "alice"), {}),
        (("token", "alice"), {"CLARION_JWT_SECRET": "short"}),
        (("token", "alice"), {"CLARION_STATE": "/dev/null/state"}),
        (("up",), {"CLARION_STATE": "/dev/null/state"}),
    ],
)
def test_what_the_machine_lacks_has_a_code_of_its_own(
    clarion: Clarion, arguments: tuple[str, ...], changes: dict[str, str]
) -> None:
    completed = clarion.run(*arguments, **changes)
    assert completed.returncode == ExitCode.SETUP
    assert completed.stderr.count("\n") == 1


def test_json_and_text_may_be_asked_for(clarion: Clarion, publisher: Publisher) -> None:
    publisher.answer = (200, b'{"connections":0,"anonymous":0,"authenticated":0,"pods":[]}')
    changes = {"CLARION_PUBLISHER_URL": publisher.url, "CLARION_TOKEN": "t"}
    assert clarion.run("connections", "--json", **changes).stdout.startswith("{")
    text = clarion.run("connections", "--text", **changes).stdout
    assert text.startswith("0 connections on 0 gateways")


def test_up_names_the_port_that_is_taken_and_starts_nothing(clarion: Clarion) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = clarion.fails("up", "--publisher-port", port)
    assert said.startswith(f"cannot use port {port} for publisher: ")
    assert said.endswith("choose another with --publisher-port")


def test_up_says_that_the_named_redis_does_not_answer(clarion: Clarion) -> None:
    ports = [str(free_port()) for _ in range(4)]
    url = f"redis://127.0.0.1:{free_port()}/0"
    said = clarion.fails(
        "up", "--gateways", "1", "--publisher-port", ports[0],
        "--publisher-internal-port", ports[1], "--gateway-port", ports[2],
        "--gateway-internal-port", ports[3], CLARION_REDIS_URL=url,
    )  # fmt: skip
    assert said.startswith(f"no Redis answers at {url}")


def test_a_reader_that_leaves_is_no_error(clarion: Clarion) -> None:
    """`clarion … | head -1` must not end in a traceback."""
    with subprocess.Popen(
        command("--help"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=clarion.folder,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == ExitCode.READER_LEFT
