"""The reader of single events notes when the first socket has one, and when the last."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from ctypes import c_ulonglong
from typing import cast

import pytest

from clarion_bench import payload
from clarion_bench.dialects import PLAIN
from clarion_bench.frames import Frame, Opcode
from clarion_bench.load import Orders, Peer, Progress
from clarion_bench.watch import Arrival, WatchProcess
from tests.bench.test_frames import encode_server


class Reader(WatchProcess):
    """A reader of two sockets that are open already."""

    def __init__(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        orders = Orders(0, PLAIN, sampling=False, pause_seconds=0.0, watching=True)
        super().__init__(orders, theirs, cast("Progress", c_ulonglong(0)))
        self._peers = [Peer(socket.socket()) for _ in range(2)]

    def close(self) -> None:
        for peer in self._peers:
            peer.socket.close()
        self._selector.close()

    def receive(self, peer: int, data: bytes) -> list[Arrival]:
        """Let a socket receive bytes; return the events that all sockets have since the last."""
        self._buffer[: len(data)] = data
        self._heard(self._peers[peer], len(data))
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    @property
    def events(self) -> int:
        return self._events


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def event(sequence: int) -> bytes:
    return encode_server(Frame(Opcode.TEXT, payload.encode(sequence)))


def test_an_event_has_arrived_once_every_socket_has_it(reader: Reader) -> None:
    assert reader.receive(1, event(7)) == []
    (arrival,) = reader.receive(0, event(7))
    assert arrival.sequence == 7
    assert 0 < arrival.first_ns < arrival.last_ns
    assert reader.events == 2


def test_a_socket_has_an_event_once_it_has_the_last_byte(reader: Reader) -> None:
    reader.receive(0, event(1))
    assert reader.receive(1, event(1)[:100]) == []
    assert len(reader.receive(1, event(1)[100:])) == 1


def test_a_ping_is_no_event(reader: Reader) -> None:
    reader.receive(0, event(1))
    assert reader.receive(1, b"\x89\x00") == []
    assert reader.events == 1
