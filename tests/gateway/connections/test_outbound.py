"""`clarion_gateway.connections.outbound`: what waits is counted once, and the largest make room."""

from __future__ import annotations

from collections.abc import Iterable

from clarion_contract.events.event import Event
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.outbound import _ENTRY_BYTES, Backlog, Outbound
from tests.gateway.recorder import Recorder, event

KIB = 1_024


class Behind(Recorder):
    """A client that takes only what it is made to take."""

    __slots__ = ("backlog", "outbound")

    def __init__(self, outbound: Outbound, first: bytes = b"") -> None:
        super().__init__()
        self.outbound = outbound
        self.unsent = len(first)
        self.backlog: Backlog | None = outbound.behind(self, lambda: self.unsent)
        self.backlog.begin()

    def send(self, data: bytes) -> None:
        self.unsent += len(data)
        if self.backlog is not None:
            self.backlog.add(data)

    def takes(self, size_bytes: int) -> None:
        self.unsent -= size_bytes

    def cut(self, close: Close) -> None:
        super().cut(close)
        self.unsent = 0
        if self.backlog is not None:
            self.backlog.end()
            self.backlog = None


def write(outbound: Outbound, clients: Iterable[Behind], data: bytes) -> None:
    """As a round writes: the same bytes to many."""
    outbound.shared = data
    for client in clients:
        client.send(data)
    outbound.shared = None


def test_what_many_wait_for_counts_once() -> None:
    outbound = Outbound()
    clients = [Behind(outbound) for _ in range(50)]
    write(outbound, clients, bytes(10 * KIB))
    assert outbound.waiting.used_bytes == 10 * KIB + 50 * _ENTRY_BYTES
    for client in clients:
        client.takes(10 * KIB)
        assert client.backlog is not None
        client.backlog.forget_sent()
    assert outbound.waiting.used_bytes == 0


def test_many_that_fall_behind_by_the_same_write_count_once() -> None:
    outbound = Outbound()
    outbound.shared = data = bytes(10 * KIB)
    for _ in range(50):
        Behind(outbound, data)
    assert outbound.waiting.used_bytes == 10 * KIB + 50 * _ENTRY_BYTES


def test_a_buffer_counts_until_all_of_it_is_taken() -> None:
    outbound = Outbound()
    client = Behind(outbound)
    client.send(bytes(KIB))
    client.send(bytes(2 * KIB))
    client.takes(KIB - 1)
    client.send(b"")
    assert outbound.waiting.used_bytes == 3 * KIB + 3 * _ENTRY_BYTES
    client.takes(1)
    assert client.backlog is not None
    client.backlog.forget_sent()
    assert client.backlog.own_bytes == outbound.waiting.used_bytes == 2 * KIB + 2 * _ENTRY_BYTES
    client.backlog.end()
    assert outbound.waiting.used_bytes == 0


def test_past_the_budget_those_with_most_of_their_own_are_cut() -> None:
    outbound = Outbound(100 * KIB)
    listeners = [Behind(outbound) for _ in range(10)]
    for _ in range(4):
        write(outbound, listeners, bytes(10 * KIB))  # 400 KiB by their sockets' count
    modest = Behind(outbound)
    modest.send(bytes(10 * KIB))
    greedy = Behind(outbound)
    for _ in range(5):
        greedy.send(bytes(10 * KIB))
    assert greedy.closed_with is close_codes.OUTBOUND_FULL
    assert modest.closed_with is None
    assert all(each.closed_with is None for each in listeners)
    assert outbound.waiting.used_bytes < 100 * KIB


def test_those_that_have_taken_it_meanwhile_are_spared() -> None:
    outbound = Outbound(100 * KIB)
    quick, deaf = Behind(outbound), Behind(outbound)
    quick.send(bytes(60 * KIB))
    quick.takes(60 * KIB)  # nobody has told the backlog
    deaf.send(bytes(39 * KIB))
    deaf.send(bytes(3 * KIB))
    assert quick.closed_with is deaf.closed_with is None


class CatchingUp(Recorder):
    """A client that the hub forgets when it is cut off, as a socket has it forgotten."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub, user: str) -> None:
        super().__init__(user)
        self.hub = hub
        hub.add(self, catching_up=True)

    def receive(self, *events: Event) -> None:
        assert self.held is not None
        self.held.add(events)

    def cut(self, close: Close) -> None:
        super().cut(close)
        self.hub.remove(self)


def test_events_that_wait_for_clients_that_catch_up_count_too() -> None:
    outbound = Outbound(100 * KIB)
    hub = Hub(outbound)
    large, small = CatchingUp(hub, "alice"), CatchingUp(hub, "bob")
    small.receive(event(1, data=bytes(10 * KIB)))
    large.receive(event(2, data=bytes(50 * KIB)))
    assert large.held is not None
    large.held.take()  # being written
    large.receive(event(3, data=bytes(50 * KIB)))
    outbound.check()
    assert large.closed_with is close_codes.OUTBOUND_FULL
    assert small.closed_with is None
    hub.go_live(small)
    assert outbound.waiting.used_bytes == 0
