"""What the kernel holds for a gateway's connections: it counts against a container's limit, too.

The gateway runs in a control group of its own, which counts the memory of its sockets' buffers, and
of the kernel's objects behind them. Needs root, and a hierarchy of control groups that it may write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.abuse.pods import Pods
from tests.integration.sockets import TEXT, frame, request_of

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")
_IDLE = 1_000
_HOSTILE = 10
_EVENTS = 5_500
_EVENT_BYTES = 1_000
_MESSAGE_BYTES = 32_000
_SMALL_BUFFER_BYTES = 2_048
_STILL_SECONDS = 3.0
"""A figure that has not grown for so long is the largest."""


class Group:
    """A control group with one service."""

    def __init__(self) -> None:
        self._is_v1 = _V1.is_dir()
        self._folder = (_V1 if self._is_v1 else _V2) / f"clarion-abuse-{os.getpid()}"

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """The group exists, and counts."""
        if not self._is_v1:
            (_V2 / "cgroup.subtree_control").write_text("+memory")
        self._folder.mkdir()
        try:
            if self._is_v1:  # it counts what is limited, so: a limit that nothing reaches
                (self._folder / "memory.kmem.tcp.limit_in_bytes").write_text(f"{1 << 40}")
            yield
        finally:
            self._folder.rmdir()

    def within(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The command that runs another one in this group."""
        script = f'echo $$ > {self._folder}/cgroup.procs && exec "$@"'
        return ("sh", "-c", script, "sh", *command)

    @property
    def buffers_bytes(self) -> int:
        """Of all sockets of the group."""
        if self._is_v1:
            return int((self._folder / "memory.kmem.tcp.usage_in_bytes").read_text())
        return self._stat("sock")

    @property
    def objects_bytes(self) -> int:
        """Of the kernel's own objects: sockets, files, page tables."""
        if self._is_v1:
            return int((self._folder / "memory.kmem.usage_in_bytes").read_text())
        return self._stat("kernel")

    def _stat(self, name: str) -> int:
        for line in (self._folder / "memory.stat").read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
        raise LookupError(name)


def main() -> int:
    """Print the table."""
    for name in ("tcp_rmem", "tcp_wmem"):
        sizes = Path(f"/proc/sys/net/ipv4/{name}").read_text().split()
        print(f"{name}: {' '.join(sizes)}")
    print("| connection | buffers, KB | other objects, KB |\n|---|---|---|")
    group, folder = Group(), Path(tempfile.mkdtemp(prefix="clarion-kernel-"))
    pods = Pods(folder, GATEWAY_REPLAY_MAX_BYTES=str(64 << 20))
    program = pods.gateway.program
    pods.gateway.program = replace(program, command=group.within(tuple(program.command)))
    with group.made():
        with pods.running():
            _measure(group, pods)
        time.sleep(_STILL_SECONDS)  # until the last process has left the group
    shutil.rmtree(folder)
    return 0


def _measure(group: Group, pods: Pods) -> None:
    since = pods.fill(_EVENTS, _EVENT_BYTES)[0] - 1
    port = urlsplit(pods.gateway.url).port or 0
    resume = request_of(f"/ws?since={since}")
    _row(group, "a WebSocket, idle", port, request_of(), count=_IDLE, reads=True)
    _row(group, "a client that resumes and does not read", port, resume)
    _row(group, "the same, with a receive buffer of 2 KB", port, resume, buffer=_SMALL_BUFFER_BYTES)
    _row(group, "the same, while it sends messages", port, resume, sends=True)


def _row(
    group: Group,
    name: str,
    port: int,
    request: bytes,
    *,
    count: int = _HOSTILE,
    buffer: int | None = None,
    reads: bool = False,
    sends: bool = False,
) -> None:
    buffers, objects = group.buffers_bytes, group.objects_bytes
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(_connected(port, request, buffer)) for _ in range(count)]
        for sock in socks if reads else ():
            while b"welcome" not in sock.recv(1 << 16):
                pass
        most = _largest(group, socks if sends else [])
        grown = group.objects_bytes - objects
    each = ((most - buffers) / count / 1_024, grown / count / 1_024)
    print(f"| {name} | {each[0]:,.0f} | {each[1]:,.1f} |", flush=True)
    time.sleep(_STILL_SECONDS)


@contextlib.contextmanager
def _connected(port: int, request: bytes, buffer: int | None) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.settimeout(60)
        sock.connect(("127.0.0.1", port))
        sock.sendall(request)
        yield sock


def _largest(group: Group, senders: list[socket.socket]) -> int:
    """The most that the buffers take, until it grows no more."""
    message = frame(TEXT, b"x" * _MESSAGE_BYTES)
    for sock in senders:
        sock.setblocking(False)
    most, grew_at = group.buffers_bytes, time.monotonic()
    while time.monotonic() - grew_at < _STILL_SECONDS:
        for sock in senders:
            with contextlib.suppress(OSError):  # its own buffer is full, too
                sock.send(message)
        now = group.buffers_bytes
        if now > most:
            most, grew_at = now, time.monotonic()
        time.sleep(0.001)
    return most
