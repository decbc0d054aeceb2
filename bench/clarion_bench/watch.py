"""A load process for single events: when does the first socket have an event, and when the last?

It reads every socket as soon as bytes come, and reads the clock once per socket. From the first
socket of an event to the last it does not sleep, so the server does not pay for waking it up.
"""

import gc
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe

from clarion_bench.frames import Frame, FrameParser
from clarion_bench.load import LoadProcess, Orders, Peer, Progress, Snapshot
from clarion_bench.payload import decode, numbered


@dataclass(frozen=True)
class Arrival:
    """One event at all sockets: its number, and the time from before publishing."""

    sequence: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class WatchSnapshot(Snapshot):
    """The counts, and the events that all sockets have received since the last snapshot."""

    arrivals: list[Arrival] = field(default_factory=list)


class WatchProcess(LoadProcess):
    """The loop over all sockets. Only one event may be under way at a time."""

    def __init__(self, orders: Orders, pipe: Pipe, progress: Progress) -> None:
        super().__init__(orders, pipe, progress)
        self._arrivals: list[Arrival] = []
        self._having = 0
        self._sequence = 0
        self._published_ns = 0
        self._first_ns = 0

    def run(self) -> None:
        """Read until the pipe closes or the order to stop comes."""
        gc.disable()  # a collection would delay one socket; nothing here makes cycles
        while self._running:
            if self._read_ready(0.0 if self._having else None):
                self._command()
        for peer in self._peers:
            peer.socket.close()

    def _heard(self, peer: Peer, size: int) -> None:
        now = time.monotonic_ns()
        if peer in self._opening:
            super()._heard(peer, size)
            return
        counter = peer.counter
        for frame in counter.feed(self._buffer, size):
            self._answer(peer, frame)
        if counter.pending or counter.events == peer.noted:
            return
        if not self._having:
            frames = FrameParser(deflate=self._orders.dialect.deflate).feed(
                bytes(self._buffer[:size])
            )
            self._begin_event(frames, now)
        self._events += counter.events - peer.noted
        peer.noted = counter.events
        self._having += 1
        if self._having == len(self._peers):
            self._having = 0
            self._arrivals.append(Arrival(self._sequence, self._first_ns, now - self._published_ns))

    def _begin_event(self, frames: list[Frame], now: int) -> None:
        event = next(frame.payload for frame in frames if numbered(frame.payload))
        self._sequence, self._published_ns = decode(event)
        self._first_ns = now - self._published_ns

    def _snapshot(self) -> WatchSnapshot:
        arrivals, self._arrivals = self._arrivals, []
        counts = super()._snapshot()
        return WatchSnapshot(**vars(counts), arrivals=arrivals)
