"""The command line as a whole: help, usage errors, exit codes; never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from tests.cli.clarion import ROOT, Clarion, command, environment
from tests.valkey import free_port

COMMANDS = ("up", "token", "publish", "tail", "users", "connections", "disconnect")


def test_without_arguments_it_tells_what_it_can_do(clarion: Clarion) -> None:
    completed = clarion.run()
    assert completed.returncode == 0
    for name in (*COMMANDS, "bench"):
        assert name in completed.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(clarion: Clarion, name: str) -> None:
    completed = clarion.run(name, "--help")
    assert completed.returncode == 0
    assert f"Usage: clarion {name}" in completed.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nope",), "no such command 'nope' (see `clarion --help`)"),
        (("publish", "a.b"), "missing argument 'JSON' (see `clarion publish --help`)"),
        (("up", "--gateways", "0"), "'--gateways'"),
        (("tail", "--colour"), "no such option: --colour"),
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
    assert said == "the benchmarks need psutil, from clarion[bench]"


def test_usage_errors_exit_with_2(clarion: Clarion) -> None:
    assert clarion.run("nope").returncode == 2
    assert clarion.run("publish", "a.b", "not json").returncode == 2


def test_up_names_the_port_that_is_taken_and_starts_nothing(clarion: Clarion) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = clarion.fails("up", "--publisher-port", port)
    assert said.startswith(f"port {port} (publisher) cannot be had")
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
        assert b"Traceback" not in process.stderr.read()
