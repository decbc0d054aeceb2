"""`clarion up`, from its start to the end of its last process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.cli.clarion import Clarion, command, environment
from tests.e2e.ports import free_ports

SECONDS = 60

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def children_of(parent: int) -> set[int]:
    """The running processes that a process started."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, ppid = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(ppid) == parent and state != "Z":
            found.add(int(status.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: set[int]) -> None:
    deadline = time.monotonic() + SECONDS
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, pids
        time.sleep(0.02)


@dataclass
class Up:
    """A running `clarion up`."""

    process: subprocess.Popen[str]
    record: dict[str, Any]
    said: list[dict[str, Any]]
    children: set[int]

    def interrupt(self) -> None:
        """Send Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and standard error, less what may come late."""
        _, errors = self.process.communicate(timeout=SECONDS)
        # The publisher may find its outbox only when the stack is up already, and says so.
        lines = [line for line in errors.splitlines(keepends=True) if "outbox found" not in line]
        return self.process.returncode, "".join(lines)


def ports(gateways: int) -> list[str]:
    first = free_ports(2 + 2 * gateways)
    return [
        f"--gateways={gateways}",
        f"--publisher-port={first}",
        f"--publisher-internal-port={first + 1}",
        f"--gateway-port={first + 2}",
        f"--gateway-internal-port={first + 2 + gateways}",
    ]


@contextmanager
def up(
    folder: Path,
    *options: str,
    gateways: int,
    clarion: Sequence[str] = command(),
    **changes: str,
) -> Iterator[Up]:
    with subprocess.Popen(
        [*clarion, "up", *ports(gateways), *options],
        cwd=folder,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            said: list[dict[str, Any]] = []
            assert process.stdout is not None
            while not said or said[-1]["kind"] != "up":
                line = process.stdout.readline()
                assert line, process.communicate()
                said.append(json.loads(line))
            yield Up(process, said[-1], said, children_of(process.pid))
        finally:
            process.kill()


@linux_only
def test_everything_starts_is_found_by_the_other_commands_and_stops(tmp_path: Path) -> None:
    clarion = Clarion(tmp_path)
    with up(tmp_path, gateways=2) as running:
        ready = [said["process"] for said in running.said if said["kind"] == "ready"]
        assert sorted(ready) == ["gateway-1", "gateway-2", "publisher", "valkey"]
        assert len(running.children) == 4

        page = httpx.get(running.record["gateways"][0], trust_env=False)
        assert "<title>Clarion</title>" in page.text
        published = clarion.run("publish", "--to", "all", "order.updated", '{"id": 42}')
        assert published.stderr == ""
        assert json.loads(published.stdout)["gateways"] == 2
        for user in ("alice", "bob"):
            stream = httpx.stream(
                "GET",
                f"{running.record['gateways'][1]}/sse",
                headers={"Authorization": f"Bearer {running.record['tokens'][user]}"},
                trust_env=False,
            )
            with stream as response:
                welcome = next(line for line in response.iter_lines() if line.startswith("data:"))
            assert json.loads(welcome.removeprefix("data:"))["user"] == user
        assert '"chat.message": ChatReply;' in clarion.run("types").stdout
        assert clarion.fails("up", *ports(1)).startswith("`clarion up` already runs here")

        running.interrupt()
        assert running.end() == (0, "")
        wait_until_gone(running.children)
    assert sorted(path.name for path in (tmp_path / ".clarion").iterdir()) == [
        ".gitignore",
        "dev-secret",
        "lock",
    ]


@linux_only
def test_a_commit_in_the_outbox_reaches_a_client(tmp_path: Path) -> None:
    with up(tmp_path, "--outbox", gateways=1) as running:
        ready = [said["process"] for said in running.said if said["kind"] == "ready"]
        assert sorted(ready) == ["gateway-1", "postgres", "publisher", "valkey"]
        with (
            httpx.stream("GET", f"{running.record['gateways'][0]}/sse", trust_env=False) as stream,
            psycopg.connect(running.record["outbox"]) as connection,
        ):
            lines = (line for line in stream.iter_lines() if line.startswith("data:"))
            next(lines)  # the welcome
            connection.execute("SELECT clarion_publish('all', 'tick', '42')")
            connection.commit()
            assert next(lines) == "data: 42"
        # Somebody's open connection does not keep it from ending.
        with psycopg.connect(running.record["outbox"]):
            running.interrupt()
            assert running.end() == (0, "")
        wait_until_gone(running.children)


@linux_only
@pytest.mark.parametrize("service", ["gateway-1", "publisher"])
def test_a_service_that_is_killed_is_started_again(tmp_path: Path, service: str) -> None:
    clarion = Clarion(tmp_path)
    with up(tmp_path, gateways=1) as running:
        assert clarion.fails("kill", "gateway-2").endswith("got 'gateway-2'")
        for _ in range(2):
            killed = clarion.run("kill", service)
            assert json.loads(killed.stdout) == {"kind": "killed", "process": service}
            assert running.process.stdout is not None
            said = [json.loads(running.process.stdout.readline()) for _ in range(2)]
            assert said[0] == {"kind": "restarting", "process": service, "exit_code": -9}
            assert (said[1]["kind"], said[1]["process"]) == ("ready", service)
        published = clarion.run("publish", "--to", "all", "order.updated", '{"id": 42}')
        assert json.loads(published.stdout)["gateways"] == 1
        children = children_of(running.process.pid)
        running.interrupt()
        assert running.end()[0] == 0  # its log says that a service started again
        wait_until_gone(children)
    assert clarion.fails("kill", service) == "no `clarion up` runs here"


@linux_only
def test_stops_on_sigterm_too(tmp_path: Path) -> None:
    with up(tmp_path, gateways=1) as running:
        running.process.terminate()
        assert running.end()[0] == 0
        wait_until_gone(running.children)


@linux_only
def test_says_which_process_ended_and_stops_the_others(tmp_path: Path) -> None:
    with up(tmp_path, gateways=1) as running:
        valkey = next(pid for pid in running.children if b"valkey" in command_line(pid))
        os.kill(valkey, signal.SIGKILL)
        code, errors = running.end()
        assert code == 1
        expected = "clarion: valkey ended by itself with exit code -9; the others are stopped"
        assert errors.splitlines()[-1] == expected
        wait_until_gone(running.children)


@linux_only
def test_leaves_nothing_behind_even_when_it_is_killed_itself(tmp_path: Path) -> None:
    with up(tmp_path, gateways=1) as running:
        running.process.kill()
        running.process.wait()
        wait_until_gone(running.children)


def test_uses_the_redis_that_it_is_told(redis_url: str, namespace: str, tmp_path: Path) -> None:
    changes = {"CLARION_REDIS_URL": redis_url, "CLARION_NAMESPACE": namespace}
    with up(tmp_path, gateways=1, **changes) as running:
        assert "valkey" not in [said.get("process") for said in running.said]
        running.interrupt()
        assert running.end() == (0, "")


def test_says_why_it_could_not_start(redis_url: str, tmp_path: Path) -> None:
    completed = Clarion(tmp_path).run(
        "up", *ports(1), "--handlers", "missing.module:handlers", CLARION_REDIS_URL=redis_url
    )
    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()
    assert line.startswith(
        "clarion: gateway-1 ended at once: cannot import GATEWAY_HANDLERS=missing.module:handlers: "
        "ModuleNotFoundError: No module named 'missing'"
    )


def test_says_where_handlers_fail(redis_url: str, tmp_path: Path) -> None:
    """Prints one line about the application, not the frames and logs of all processes."""
    (tmp_path / "shop.py").write_text(
        "def connect():\n    raise OSError('no database')\nconnect()\n"
    )
    completed = Clarion(tmp_path).run(
        "up", *ports(1), "--handlers", "shop:handlers", CLARION_REDIS_URL=redis_url
    )
    (line,) = completed.stderr.splitlines()
    assert "OSError: no database" in line
    assert f"({tmp_path / 'shop.py'}:2)" in line


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
