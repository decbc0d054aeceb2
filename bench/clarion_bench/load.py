"""The load client: one process that opens sockets to a server and counts what they receive.

It runs as a child of the benchmark (see `crowd.py`), gets its orders over a pipe, and reads all
its sockets in one loop into one buffer. There are two kinds of sockets:

- *Bulk* sockets are only counted. The process pauses a few milliseconds between rounds of reading,
  so no server pays for waking a sleeping reader for each frame, and 400,000 deliveries/s leave half
  a core free.
- *Sample* sockets are read at once and in full. The process checks the order of their sequence
  numbers and measures latencies.
"""

import contextlib
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Protocol

from clarion_bench.dialects import Dialect
from clarion_bench.frames import (
    DeflatedCounter,
    Frame,
    FrameCounter,
    FrameParser,
    Opcode,
    encode_client,
)
from clarion_bench.payload import decode

_BUFFER_BYTES = 1 << 20
_OPENING_SECONDS = 60.0
_PER_ADDRESS = 10_000
# IP_BIND_ADDRESS_NO_PORT of Linux: connect chooses the port, knowing where to.
_BIND_ADDRESS_NO_PORT = 24


class Progress(Protocol):
    """A number in shared memory: events received so far on all sockets of a process."""

    value: int


@dataclass(frozen=True)
class Orders:
    """The configuration of a load process.

    `stride` is the difference between consecutive sequence numbers on one socket: 1 if every
    socket gets every event. `watching` asks for a `WatchProcess` (see `watch.py`).
    """

    port: int
    dialect: Dialect
    sampling: bool
    pause_seconds: float
    stride: int = 1
    watching: bool = False


@dataclass(frozen=True)
class Opened:
    """The outcome of opening sockets; `reason` is that of the first failure, if known."""

    connections: int
    seconds: float
    failures: int
    reason: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A load process's counts since its start, and its latencies since the last snapshot.

    `plain` counts events that came uncompressed although permessage-deflate was agreed on.
    """

    events: int
    fewest: int
    most: int
    closed: int
    misordered: int
    frame_bytes: int
    cpu_seconds: float
    latencies_ns: list[int] = field(repr=False)
    plain: int = 0


def connected(port: int, number: int) -> socket.socket:
    """Connect socket number `number` of a process to a port of this machine.

    Linux gives sockets to the same address and port the even half of its ephemeral ports first,
    about 14,000, and then searches all of these before each further connection. So after the first
    10,000 the sockets come from another address of the loopback interface. Other platforms have
    only 127.0.0.1 there.

    Raises:
        OSError: no connection is possible.
    """
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if number >= _PER_ADDRESS and sys.platform.startswith("linux"):
            connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((f"127.0.0.{1 + number // _PER_ADDRESS}", 0))
        # Blocking on purpose: on loopback the kernel completes the connection inside the call.
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


class Peer:
    """One socket: first it is greeted, then counted or sampled."""

    __slots__ = ("counter", "greeted", "next_sequence", "noted", "parser", "socket", "upgraded")

    def __init__(self, connection: socket.socket, *, deflate: bool = False) -> None:
        self.socket = connection
        self.parser = FrameParser(deflate=deflate)
        self.counter = DeflatedCounter() if deflate else FrameCounter()
        self.upgraded = b""
        self.greeted = -1
        self.next_sequence = -1
        self.noted = 0


class LoadProcess:
    """The loop over all sockets of one process."""

    def __init__(self, orders: Orders, pipe: Pipe, progress: Progress) -> None:
        self._orders = orders
        self._pipe = pipe
        self._progress = progress
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._peers: list[Peer] = []
        self._opening: set[Peer] = set()
        self._latencies_ns: list[int] = []
        self._closed = 0
        self._refusal = ""
        self._misordered = 0
        self._events = 0
        self._running = True

    def run(self) -> None:
        """Read until the pipe closes or the order to stop comes."""
        while self._running:
            if self._read_ready(None):
                self._command()
            if self._orders.pause_seconds:
                self._pipe.poll(self._orders.pause_seconds)
        for peer in self._peers:
            peer.socket.close()

    def _read_ready(self, timeout: float | None) -> bool:
        """Read every socket that has data; say whether a command has come as well."""
        commanded = False
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                commanded = True
            else:
                self._read(key.data)
        self._progress.value = self._events
        return commanded

    def _command(self) -> None:
        try:
            name, argument = self._pipe.recv()
        except EOFError:
            name, argument = "stop", None
        if name == "open":
            queries, concurrency = argument
            # No other command comes meanwhile, because the benchmark waits for this answer.
            self._pipe.send(self._open(queries, concurrency))
        elif name == "snapshot":
            self._read_ready(0)
            self._pipe.send(self._snapshot())
        else:
            self._running = False

    def _open(self, queries: list[str], concurrency: int) -> Opened:
        """Open one socket per query string, `concurrency` at a time."""
        began = time.monotonic()
        open_before = len(self._peers) - self._closed
        waiting = deque(queries)
        reason = self._refusal = ""
        while waiting or self._opening:
            try:
                while waiting and len(self._opening) < concurrency:
                    self._connect(waiting.popleft())
            except OSError as error:
                # No more files or ports: further attempts would fail in the same way.
                reason = str(error)
                waiting.clear()
            self._read_ready(1.0)
            if time.monotonic() - began > _OPENING_SECONDS:
                reason = f"not done in {_OPENING_SECONDS:.0f} s"
                break
        opened = len(self._peers) - self._closed - len(self._opening) - open_before
        return Opened(
            opened, time.monotonic() - began, len(queries) - opened, reason or self._refusal
        )

    def _connect(self, query: str) -> None:
        connection = connected(self._orders.port, len(self._peers))
        try:
            peer, request = self._dial(connection, query)
            connection.send(request)
        except OSError:
            connection.close()
            raise
        connection.setblocking(False)
        self._peers.append(peer)
        self._opening.add(peer)
        self._selector.register(connection, selectors.EVENT_READ, peer)

    def _dial(self, connection: socket.socket, query: str) -> tuple[Peer, bytes]:
        """The peer for a new connection, and its first request."""
        dialect = self._orders.dialect
        peer = Peer(connection, deflate=dialect.deflate)
        return peer, dialect.request(self._orders.port, query)

    def _read(self, peer: Peer) -> None:
        try:
            size = peer.socket.recv_into(self._buffer)
        except BlockingIOError:
            return
        except ConnectionError:
            size = 0
        if size == 0:
            self._close(peer)
        else:
            self._heard(peer, size)

    def _heard(self, peer: Peer, size: int) -> None:
        """Take the first `size` bytes of the buffer, which a socket has received."""
        if peer in self._opening:
            self._greet(peer, bytes(self._buffer[:size]))
        elif self._orders.sampling:
            self._sample(peer, peer.parser.feed(bytes(self._buffer[:size])))
        else:
            before = peer.counter.events
            for frame in peer.counter.feed(self._buffer, size):
                self._answer(peer, frame)
            self._events += peer.counter.events - before

    def _greet(self, peer: Peer, data: bytes) -> None:
        """Read the handshake's response and the dialect's greeting."""
        if peer.greeted < 0:
            peer.upgraded += data
            head, found, data = peer.upgraded.partition(b"\r\n\r\n")
            if not found:
                return
            if refusal := self._orders.dialect.refusal(head):
                self._refusal = refusal
                self._close(peer)
                return
            peer.greeted = 0
        frames = peer.parser.feed(data)
        greeting = self._orders.dialect.greeting
        while frames and peer.greeted < len(greeting):
            expected, reply = greeting[peer.greeted]
            if frames.pop(0).payload.startswith(expected):
                peer.greeted += 1
                if reply:
                    peer.socket.send(encode_client(Opcode.TEXT, reply))
        if peer.greeted == len(greeting):
            self._opening.discard(peer)
            self._begin(peer, frames)

    def _begin(self, peer: Peer, frames: list[Frame]) -> None:
        """Process the frames that arrived right after the greeting."""
        if self._orders.sampling:
            self._sample(peer, frames)
            return
        for frame in frames:
            if len(frame.payload) < 126:
                self._answer(peer, frame)
            else:
                peer.counter.events += 1
                peer.counter.plain += self._orders.dialect.deflate and not frame.deflated
                self._events += 1
        # A bulk socket is counted from here on. Its parser may still hold a part of a frame.
        peer.counter.feed(bytearray(peer.parser.rest), len(peer.parser.rest))

    def _sample(self, peer: Peer, frames: list[Frame]) -> None:
        now = time.monotonic_ns()
        for frame in frames:
            if frame.opcode != Opcode.TEXT or len(frame.payload) < 126:
                self._answer(peer, frame)
                continue
            self._note(peer, frame.payload, now)
            if not self._orders.dialect.deflate:
                peer.counter.frame_bytes = len(frame.payload) + 4
            elif not frame.deflated:
                peer.counter.plain += 1

    def _note(self, peer: Peer, event: bytes, now: int) -> None:
        """Count an event that was read in full, and note its latency and its place."""
        sequence, at_ns = decode(event)
        self._latencies_ns.append(now - at_ns)
        if peer.next_sequence not in (-1, sequence):
            self._misordered += 1
        peer.next_sequence = sequence + self._orders.stride
        peer.counter.events += 1
        self._events += 1

    def _answer(self, peer: Peer, frame: Frame) -> None:
        reply = None
        if frame.opcode == Opcode.PING:
            reply = encode_client(Opcode.PONG, frame.payload)
        elif frame.opcode == Opcode.TEXT and frame.payload in self._orders.dialect.answers:
            reply = encode_client(Opcode.TEXT, self._orders.dialect.answers[frame.payload])
        if reply is not None:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                peer.socket.send(reply)

    def _close(self, peer: Peer) -> None:
        self._closed += 1
        self._opening.discard(peer)
        self._selector.unregister(peer.socket)
        peer.socket.close()

    def _snapshot(self) -> Snapshot:
        latencies_ns, self._latencies_ns = self._latencies_ns, []
        counts = [peer.counter.events for peer in self._peers] or [0]
        return Snapshot(
            events=self._events,
            fewest=min(counts),
            most=max(counts),
            closed=self._closed,
            misordered=self._misordered,
            frame_bytes=self._peers[0].counter.frame_bytes if self._peers else 0,
            cpu_seconds=time.process_time(),
            latencies_ns=latencies_ns,
            plain=sum(peer.counter.plain for peer in self._peers),
        )
