"""`clarion_gateway.delivery.fanout`: a round's plan gives each connection exactly its events, with
the fewest possible writes.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.event import Event
from clarion_contract.events.exclusion import exclusion_of
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery import fanout
from clarion_gateway.wire.format import WireFormat
from clarion_gateway.wire.native import DEFLATED, PLAIN, NativeFormat
from clarion_gateway.wire.sse import SSE
from tests.gateway.recorder import AUDIENCES, Recorder, event, messages_of

ALICE = Audience("user", "alice")


TOPICS = [topic_audience(name) for name in "abc"]


def writes(plan: fanout.Plan) -> dict[Connection, list[bytes]]:
    result: dict[Connection, list[bytes]] = {}
    for payload, connections in plan.batches:
        for connection in connections:
            result.setdefault(connection, []).append(payload)
    return result


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Hub, list[Recorder], list[Event]]:
    """A hub with live and resuming connections, and events for some of them."""
    hub = Hub()
    connections = [
        Recorder(
            draw(st.sampled_from([None, "alice", "bob"])),
            draw(st.sampled_from([PLAIN, DEFLATED, SSE])),
        )
        for _ in range(draw(st.integers(0, 7)))
    ]
    for connection in connections:
        asked = draw(st.lists(st.sampled_from(TOPICS), max_size=3, unique=True))
        hub.add(connection, asked=tuple(asked), catching_up=draw(st.booleans()))
    ids = [connection.id for connection in connections]
    names = [*ids, *(audience.stream for audience in (*AUDIENCES, *TOPICS))]
    several = st.lists(st.sampled_from(names), min_size=1, max_size=3).map(exclusion_of)
    events = [
        event(
            1000 + i,
            draw(st.sampled_from([*AUDIENCES, *TOPICS])),
            data=b"%d" % i,
            exclude=draw(st.none() | st.sampled_from([*ids, "stranger", "all"]) | several),
        )
        for i in range(draw(st.integers(1, 8)))
    ]
    return hub, connections, events


def due(connection: Connection, events: list[Event]) -> list[Event]:
    """The plain definition of the events that each connection gets."""
    return [
        each
        for each in events
        if each.audience in audiences(connection) and not left_out(connection, each.exclude)
    ]


def audiences(connection: Connection) -> list[Audience]:
    known = [AUTHENTICATED, Audience("user", connection.user)] if connection.user else []
    return [ALL, *known, *connection.asked]


def left_out(connection: Connection, exclude: str | None) -> bool:
    if exclude is None or not exclude.startswith(","):
        return exclude == connection.id
    names = [connection.id, *(audience.stream for audience in audiences(connection))]
    return any(name in exclude.split(",") for name in names)


@given(rounds())
def test_each_connection_gets_exactly_its_events_in_order_in_one_write(
    drawn: tuple[Hub, list[Recorder], list[Event]],
) -> None:
    hub, connections, events = drawn
    plan = fanout.plan(events, hub)
    fanout.hold(events, hub, 1_000, 1 << 20)
    written = writes(plan)
    counted: Counter[tuple[str, str]] = Counter()
    for connection in connections:
        expected = due(connection, events)
        if connection.held is not None:
            assert connection.held.take() == expected
            assert connection not in written
            continue
        encoded = b"".join(connection.format.event(each) for each in expected)
        assert written.get(connection, []) == ([encoded] if expected else [])
        counted.update((each.audience.kind, connection.format.name) for each in expected)
    assert plan.deliveries == counted
    assert plan.recipients == len(written)
    assert plan.size_bytes == sum(len(payload) for (payload,) in written.values())


@given(rounds())
def test_reach_counts_what_a_plan_would_write(
    drawn: tuple[Hub, list[Recorder], list[Event]],
) -> None:
    hub, connections, events = drawn
    for each in events:
        receivers = [c for c in connections if c.held is None and due(c, [each])]
        size = sum(len(connection.format.event(each)) for connection in receivers)
        assert fanout.reach(each, hub) == (len(receivers), size)


def test_an_event_is_encoded_once_per_wire_whoever_gets_it() -> None:
    """This holds for connections with a buffer of their own too: more sockets encode no more."""
    calls: list[bytes] = []

    def frame(payload: bytes) -> bytes:
        calls.append(payload)
        return payload

    wire_format: WireFormat = NativeFormat("websocket", frame)
    calls.clear()  # its pings are encoded when it is made
    hub = Hub()
    for user in [None] * 50 + ["alice", "bob"] * 25:
        hub.add(Recorder(user, wire_format))
    excluded = Recorder(None, wire_format)
    hub.add(excluded)
    events = [event(1), event(2, AUTHENTICATED), event(3, ALICE), event(4, exclude=excluded.id)]
    fanout.plan(events, hub)
    assert len(calls) == len(events)


def test_members_that_hear_the_same_topics_share_one_buffer() -> None:
    """Those of one topic of the round, those of two, and those of none: three writes of a group."""
    hub = Hub()
    a, b, c = TOPICS
    for asked in [(a,), (a, c), (b, a), (a, b), (c,)] * 20:
        hub.add(Recorder(), asked=asked)
    plan = fanout.plan([event(1, a), event(2), event(3, b), event(4, a)], hub)
    assert sorted(len(connections) for _, connections in plan.batches) == [20, 40, 40]


def test_two_events_of_one_id_keep_their_own_bytes() -> None:
    """On a cluster, the clocks of two topics may issue the same id."""
    hub = Hub()
    both = Recorder()
    hub.add(both, asked=tuple(TOPICS))
    ((payload, _),) = fanout.plan([event(1, TOPICS[0]), event(1, TOPICS[1])], hub).batches
    assert [message["topic"] for message in messages_of(payload)] == ["a", "b"]


def test_connections_of_a_group_share_one_buffer() -> None:
    hub = Hub()
    for _ in range(100):
        hub.add(Recorder())
    (batch,) = fanout.plan([event(1), event(2)], hub).batches
    payload, connections = batch
    assert payload == PLAIN.event(event(1)) + PLAIN.event(event(2))
    assert len(connections) == 100


def test_nobody_there_costs_no_encoding() -> None:
    assert fanout.plan([event(1), event(2, ALICE)], Hub()).batches == []


def test_an_excluded_connection_of_another_pod_changes_nothing() -> None:
    hub, connection = Hub(), Recorder()
    hub.add(connection)
    (batch,) = fanout.plan([event(1, exclude="on-another-pod")], hub).batches
    assert list(batch[1]) == [connection]


def test_connections_that_the_same_event_excludes_share_a_buffer() -> None:
    hub, (a, b, _) = Hub(), TOPICS
    both, one = [Recorder() for _ in range(50)], Recorder()
    for connection in both:
        hub.add(connection, asked=(a, b))
    hub.add(one, asked=(b,))
    events = [event(1), event(2, b, exclude=exclusion_of([a.stream])), event(3)]
    found = {payload: list(to) for payload, to in fanout.plan(events, hub).batches}
    first, second, third = map(PLAIN.event, events)
    assert found == {first + third: both, first + second + third: [one]}


def test_a_client_that_leaves_too_many_events_while_catching_up_is_a_slow_consumer() -> None:
    """Held events cost memory, so their number is limited; the client returns for them."""
    hub = Hub()
    slow, quick = Recorder(), Recorder()
    hub.add(slow, catching_up=True)
    hub.add(quick, catching_up=True)
    assert slow.held is not None
    assert quick.held is not None
    slow.held.add(event(id_) for id_ in range(1, 100))
    fanout.hold([event(101), event(102)], hub, 100, 1 << 20)
    assert slow.closed_with == close_codes.SLOW_CONSUMER
    assert quick.closed_with is None
    assert quick.held.take() == [event(101), event(102)]
