"""`clarion_gateway.clients.resumption`: the place of a loss among the events that a client catches
up with.

tests/gateway/clients/test_admission.py has the rest, from the handshake on.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from clarion_contract.bus.positions import ONE_CLOCK, Positions, SeveralClocks
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.event import Event, Publication
from clarion_contract.texts.piece import Piece
from clarion_gateway.clients import resumption as module
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.resumption import Resumption, tell_gap
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import State
from clarion_gateway.connections.held import Gap
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.missed import Missed
from clarion_gateway.delivery.ring import Ring, Segment
from tests.gateway.clients.test_admission import Door
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.memory_bus import node_of
from tests.gateway.recorder import Recorder, event

ALICE = Audience("user", "alice")


def told(connection: Recorder) -> list[tuple[str, int]]:
    return [(message["kind"], int(message["id"])) for message in connection.messages[1:]]


@pytest.mark.parametrize(
    ("audiences", "expected"),
    [
        ({ALL}, [True, True, True]),
        ({AUTHENTICATED}, [False, True, True]),
        ({ALICE}, [False, True, False]),
        ({ALICE, Audience("user", "bob")}, [False, True, True]),
    ],
)
def test_a_loss_is_told_to_those_whom_it_concerns(
    audiences: set[Audience], expected: list[bool]
) -> None:
    hub = Hub()
    connections = [Recorder(user) for user in (None, "alice", "bob")]
    for connection in connections:
        hub.add(connection)
    tell_gap(hub, audiences, 7)
    gaps = [[m["id"] for m in connection.messages] for connection in connections]
    assert gaps == [["7"] if each else [] for each in expected]


def test_a_loss_waits_for_those_who_catch_up(loop: ClockworkLoop) -> None:
    """It is told after the events that came in before it."""
    door = Door(loop)
    (seen,) = door.publish()
    missed = door.publish(count=2)
    connection = door.stall(Opening(None, str(seen)))
    tell_gap(door.hub, {ALL}, missed[-1])
    (after,) = door.publish()
    connection.taking.set()
    loop.settle()
    events = [("event", id_) for id_ in missed]
    assert told(connection) == [*events, ("gap", missed[-1]), ("event", after)]


def test_a_client_at_the_pods_own_position_has_missed_nothing(loop: ClockworkLoop) -> None:
    door = Door(loop)
    (seen,) = door.publish()
    probes = len(door.bus.probes)
    connection = door.enter(Opening(None, str(seen)))
    assert connection.messages[0]["resumed"] is True
    assert door.delivery.position == seen
    assert len(door.bus.probes) == probes


@pytest.mark.parametrize(
    ("redis_url", "user", "probes"),
    [
        ("redis://localhost:6379", None, 0),
        ("redis://localhost:6379", "alice", 1),
        ("redis+cluster://localhost:6379", None, 0),
        ("redis+cluster://localhost:6379", "alice", 3),
    ],
)
def test_a_resume_costs_a_probe_only_where_the_position_does_not_tell(
    loop: ClockworkLoop, redis_url: str, user: str | None, probes: int
) -> None:
    """One probe shows that the user's stream is heard; on a cluster, one through each primary."""
    door = Door(loop, redis_url=redis_url)
    loop.advance(20)
    (seen,) = door.publish()
    before = len(door.bus.probes)
    connection = door.enter(Opening(user, str(seen)))
    assert connection.messages[0]["resumed"] is True
    assert len(door.bus.probes) - before == probes


def test_a_loss_at_the_clients_own_position_is_told(loop: ClockworkLoop) -> None:
    """It may have had an event of that id from a pod that knew of no loss."""
    door = Door(loop, redis_url="redis+cluster://localhost:6379")
    loop.advance(20)
    (since,) = door.publish(ALL)
    door.log_alice_in()
    door.subscriber.lag(node_of(ALICE.stream))
    connection = door.knock(Opening("alice", str(since)))
    loop.settle()
    assert not connection.written
    tell_gap(door.hub, {ALL}, since)
    door.subscriber.arrive(node_of(ALICE.stream))
    loop.settle()
    assert told(connection) == [("gap", since)]


def test_a_loss_of_others_does_not_wait(loop: ClockworkLoop) -> None:
    door = Door(loop)
    (seen,) = door.publish()
    missed = door.publish()
    connection = door.stall(Opening(None, str(seen)))
    tell_gap(door.hub, {ALICE}, missed[-1])
    connection.taking.set()
    loop.settle()
    assert told(connection) == [("event", missed[0])]


def test_a_loss_that_is_found_while_the_log_is_read_has_its_place(loop: ClockworkLoop) -> None:
    """It comes before the first shared event above it, and before all later events."""
    door = Door(loop, redis_url="redis+cluster://localhost:6379")
    loop.advance(20)
    first = door.enter(Opening("alice", None))
    (since,) = door.publish(ALL)
    door.leave(first)
    door.bus.ahead[node_of(ALICE.stream)] = -400_000
    (shared,) = door.publish(ALL)
    door.subscriber.lag(node_of(ALICE.stream))  # so that the resume waits
    (before,) = door.publish(ALICE)
    connection = door.knock(Opening("alice", str(since)))
    loop.settle()
    assert not connection.written
    tell_gap(door.hub, {ALL}, shared)
    late = door.bus.publish(Publication(ALL, "tick", b"{}")).id
    door.subscriber.arrive(node_of(ALICE.stream))
    loop.settle()
    # Her event has the lowest id and came in after the loss.
    assert before < shared < late
    assert told(connection) == [
        ("gap", shared),
        ("event", before),
        ("event", shared),
        ("event", late),
    ]


@pytest.mark.parametrize(
    ("positions", "expected"),
    [(ONE_CLOCK, [2, "gap 4", 5, "gap 6", 8]), (SeveralClocks(1_000), [2, "gap 4", 5, "gap 6", 8])],
)
def test_a_loss_lies_before_the_shared_events_above_it(
    positions: Positions, expected: list[object]
) -> None:
    """On a cluster, users' ids (here 5) do not locate a loss; shared events after it do."""
    resumption = Resumption(Hub(), None, None, None, positions)  # type: ignore[arg-type]
    events = [event(2), event(5, ALICE), event(8)]
    items = resumption._with_gaps(events, [Gap(4), events[1], Gap(6)])
    assert [f"gap {i.position}" if isinstance(i, Gap) else i.id for i in items] == expected
    items = resumption._with_gaps(events, [Gap(2)])
    apart = positions is not ONE_CLOCK
    assert items.index(Gap(2)) == (2 if apart else 1)


@pytest.mark.parametrize("position", [5, 9])
async def test_a_text_that_was_read_ahead_of_the_pod_waits_for_it(position: int) -> None:
    """It holds pieces that the pod has yet to deliver, and that no log has by themselves."""
    topic = topic_audience("answer")
    data = msgspec.json.encode(Piece("a", 2, True, "writing", "ab"))
    text = Event(9, 8, topic, "answer", data, of_text=True)
    connection = Recorder(None)
    hub = Hub()
    hub.add(connection, asked=(topic,), catching_up=True)
    delivery = SimpleNamespace(position=position)
    refreshes: list[int] = []

    async def refresh() -> None:
        refreshes.append(delivery.position)
        delivery.position = 9

    async def missed(*party: object) -> Missed:
        assert party == (connection, 3, "192.0.2.7")
        return Missed(True, [text])

    resumption = Resumption(
        hub,
        SimpleNamespace(refresh=refresh),
        cast("Any", delivery),
        cast("Any", SimpleNamespace(missed=missed)),
    )
    collected = await resumption.collect(connection, 3, None, "192.0.2.7")
    assert collected is not None
    assert collected.items == [text]
    assert refreshes == ([5] if position == 5 else [])


@pytest.mark.parametrize("has_gap", [False, True])
def test_a_loss_has_its_place_within_a_segment(has_gap: bool) -> None:
    """Without one, the client gets the segment as it is, which costs nothing per event."""
    hub = Hub()
    connection = Recorder()
    hub.add(connection, catching_up=True)
    assert connection.held is not None
    if has_gap:
        connection.held.add([Gap(2)])
    segment = Segment(Ring(1 << 20), 1, 3, [event(1), event(2), event(3)])
    delivery = cast("Any", SimpleNamespace(position=3))
    resumption = Resumption(hub, cast("Any", None), delivery, cast("Any", None))
    collected = resumption.collected(connection, Missed(True, (), segments=[segment]), None)
    assert collected is not None
    assert collected.items == ([event(1), event(2), Gap(2), event(3)] if has_gap else [segment])


@pytest.mark.parametrize("room_bytes", [0, 100_000])
def test_what_was_missed_is_sent_at_once_if_it_is_short(room_bytes: int) -> None:
    hub = Hub()
    connection = Recorder()
    hub.add(connection, catching_up=True)
    nothing = cast("Any", None)
    resumption = Resumption(hub, nothing, nothing, nothing, at_once_bytes=room_bytes)
    is_short = room_bytes > 0
    assert resumption.send_at_once(connection, [event(1), Gap(1), event(2)]) is is_short
    assert connection.state is (State.LIVE if is_short else State.CATCHING_UP)
    assert connection.event_ids == ([1, 2] if is_short else [])


async def test_a_client_whose_events_cannot_be_written_is_closed() -> None:
    hub = Hub()
    connection = Recorder()
    hub.add(connection, catching_up=True)

    def fail(_: bytes) -> None:
        raise KeyError("bug")

    connection.write = fail
    room = SimpleNamespace(keep=lambda *_: None)
    resumption = Resumption(
        hub, cast("Any", None), cast("Any", None), cast("Any", SimpleNamespace(room=room))
    )
    await resumption.send(connection, [event(1)])
    assert connection.closed_with == close_codes.INTERNAL_ERROR


@pytest.mark.parametrize("in_one_chunk", [False, True])
async def test_only_the_bytes_of_segments_are_not_a_clients_own(
    monkeypatch: pytest.MonkeyPatch, in_one_chunk: bool
) -> None:
    """A segment's bytes are the ring's. Single events take memory until they are written."""
    monkeypatch.setattr(module, "_CHUNK_BYTES", 10_000 if in_one_chunk else 1)
    hub = Hub()
    connection = Recorder()
    hub.add(connection, catching_up=True)
    shared: list[bool] = []
    connection.write = lambda data: shared.append(hub.outbound.shared is data)
    kept: list[int] = []
    room = SimpleNamespace(keep=lambda _, left_bytes: kept.append(left_bytes))
    catching_up = Resumption(
        hub, cast("Any", None), cast("Any", None), cast("Any", SimpleNamespace(room=room))
    )
    segment = Segment(Ring(1 << 20), 1, 2, [event(1), event(2)])
    events = [event(3), event(4), event(5)]
    await catching_up.send(connection, [segment, *events])
    assert shared == ([True, False] if in_one_chunk else [True, False, False, False])
    assert hub.outbound.shared is None
    cost = events[0].cost_bytes
    assert kept == ([3 * cost, 0] if in_one_chunk else [3 * cost, 2 * cost, cost, 0])
