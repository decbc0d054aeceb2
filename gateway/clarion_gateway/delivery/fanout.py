"""Plans one delivery round: which bytes are written to which connections. Pure, no I/O.

`clarion_gateway.delivery.rounds` asks for the plan and writes it. Each event is encoded once per
wire format. All events of a round are joined into one buffer per group of connections. Members of
a group that hear the same named streams of the round, such as a topic, share a buffer too. So the
work for a recipient is the write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from clarion_contract.events.event import Event
from clarion_contract.events.exclusion import names_in
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Group, Hub
from clarion_gateway.wire.format import WireFormat

_by_id: Final = attrgetter("id")
# By connection, the events that exclude it: their `id()`, as two clocks may issue the same id.
_LeftOut = Mapping[Connection, tuple[int, ...]]


@dataclass(slots=True)
class Plan:
    """The writes of a round.

    Attributes:
        batches: buffers, each with the connections that it goes to.
        deliveries: events times connections, by (audience kind, wire).
    """

    batches: list[tuple[bytes, Sequence[Connection]]] = field(default_factory=list)
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def recipients(self) -> int:
        """The number of connections written to."""
        return sum(len(connections) for _, connections in self.batches)

    @property
    def size_bytes(self) -> int:
        """The number of bytes written, over all connections."""
        return sum(len(payload) * len(connections) for payload, connections in self.batches)


def plan(events: Sequence[Event], hub: Hub) -> Plan:
    """Plan the writes of one round to live connections.

    Connections that are catching up are not in the plan: `hold` keeps the events for them.

    Args:
        events: in id order.
    """
    result = Plan()
    frames: dict[tuple[WireFormat, int], bytes] = {}
    named: dict[str, list[Event]] = {}
    for event in events:
        if event.audience.named:
            named.setdefault(event.audience.stream, []).append(event)
    left_out = _left_out(events, hub)
    for group in hub.groups:
        if group.members:
            _plan_group(result, group, events, named, left_out, frames)
    return result


def hold(events: Iterable[Event], hub: Hub, max_events: int, max_bytes: int) -> None:
    """Keep events for the connections that are still catching up.

    A connection that has more than ``max_events`` of them waiting, or more than ``max_bytes``, is
    closed as a slow consumer. `Hub.outbound` bounds those of all connections together.
    """
    for connection in list(hub.catching_up):
        if connection.held is not None:
            connection.held.add(event for event in events if connection.receives(event))
            if len(connection.held) > max_events or connection.held.cost_bytes > max_bytes:
                connection.close(close_codes.SLOW_CONSUMER)
    hub.outbound.check()


def reach(event: Event, hub: Hub) -> tuple[int, int]:
    """Count the live connections that an event goes to on this pod, and the bytes, for its span."""
    sizes: Counter[WireFormat] = Counter()
    if event.audience.named:
        for group in hub.groups:
            members = group.named.get(event.audience.stream, ())
            sizes[group.format] += sum(connection.receives(event) for connection in members)
    else:
        for group in hub.groups:
            if event.audience.stream in group.streams:
                sizes[group.format] += len(group.members)
        for excluded in _left_out((event,), hub):
            if event.audience.stream in excluded.shared_streams:
                sizes[excluded.format] -= 1
    size_bytes = sum(
        len(wire_format.event(event)) * count for wire_format, count in sizes.items() if count
    )
    return sizes.total(), size_bytes


def _left_out(events: Iterable[Event], hub: Hub) -> _LeftOut:
    """The live connections that some events of the round exclude, and these events."""
    excluding: dict[str, list[int]] = {}  # in nearly all rounds, no event does
    for event in events:
        if event.exclude is not None:
            excluding.setdefault(event.exclude, []).append(id(event))
    left_out: dict[Connection, list[int]] = {}
    for text, without in excluding.items():
        for connection in hub.live_members(names_in(text)):
            left_out.setdefault(connection, []).extend(without)
    return {connection: tuple(without) for connection, without in left_out.items()}


def _plan_group(
    result: Plan,
    group: Group,
    events: Sequence[Event],
    named: Mapping[str, list[Event]],
    left_out: _LeftOut,
    frames: dict[tuple[WireFormat, int], bytes],
) -> None:
    """Plan the writes to one group: members that get the same events get one buffer.

    Args:
        named: the round's events on streams with a name, by stream.
    """
    shared = [event for event in events if event.audience.stream in group.streams]
    cells, apart = _cells(group, named)
    if shared:
        rest = group.members.keys() - apart if apart else group.members
        _add_but(result, group.format, rest, shared, left_out, frames)
    for streams, connections in cells:
        own = named[streams[0]]
        if shared or len(streams) > 1:
            several = [event for stream in streams for event in named[stream]]
            own = sorted([*shared, *several], key=_by_id)
        _add_but(result, group.format, connections, own, left_out, frames)


def _cells(
    group: Group, named: Mapping[str, object]
) -> tuple[list[tuple[Sequence[str], Collection[Connection]]], AbstractSet[Connection]]:
    """Part the members that hear some of these streams by which of them they hear.

    Returns the streams and the members of each part, and the members of all parts. Most members
    hear one stream of a round. For those there is no work per member, but that of set operations.
    """
    heard = [(stream, group.named[stream]) for stream in named if stream in group.named]
    if len(heard) == 1:
        stream, members = heard[0]
        return [((stream,), members)], members.keys()
    hear_some: set[Connection] = set()
    hear_several: set[Connection] = set()
    for _, members in heard:
        if len(members) == 1:  # as for most users; and cheaper than sets
            (connection,) = members
            (hear_several if connection in hear_some else hear_some).add(connection)
        else:
            hear_several.update(members.keys() & hear_some)
            hear_some.update(members)  # `|=` with the keys of a dict would copy the whole set
    if not hear_several:
        return [((stream,), members) for stream, members in heard], hear_some
    cells: list[tuple[Sequence[str], Collection[Connection]]] = []
    streams_of: dict[Connection, list[str]] = {}
    for stream, members in heard:
        others = [connection for connection in members if connection not in hear_several]
        cells.append(((stream,), others))
        for connection in members.keys() & hear_several:
            streams_of.setdefault(connection, []).append(stream)
    by_streams: dict[tuple[str, ...], list[Connection]] = {}
    for connection, streams in streams_of.items():
        by_streams.setdefault(tuple(streams), []).append(connection)
    return [*cells, *by_streams.items()], hear_some


def _add_but(
    result: Plan,
    wire_format: WireFormat,
    connections: Iterable[Connection],
    events: Sequence[Event],
    left_out: _LeftOut,
    frames: dict[tuple[WireFormat, int], bytes],
) -> None:
    """Plan the writes of events to connections that hear them, but for those left out."""
    if not left_out:  # as in nearly all rounds
        _add(result, wire_format, list(connections), events, frames)
        return
    alike: dict[tuple[int, ...], list[Connection]] = {}
    for connection in connections:
        alike.setdefault(left_out.get(connection, ()), []).append(connection)
    for without, members in alike.items():
        rest = [event for event in events if id(event) not in without] if without else events
        _add(result, wire_format, members, rest, frames)


def _add(
    result: Plan,
    wire_format: WireFormat,
    connections: Sequence[Connection],
    events: Sequence[Event],
    frames: dict[tuple[WireFormat, int], bytes],
) -> None:
    if not connections or not events:
        return
    parts = []
    wire = wire_format.name
    for event in events:
        # Not by the event's id: on a cluster, two clocks may issue the same one.
        frame = frames.get((wire_format, id(event)))
        if frame is None:
            frame = frames[wire_format, id(event)] = wire_format.event(event)
        parts.append(frame)
        result.deliveries[event.audience.kind, wire] += len(connections)
    result.batches.append((parts[0] if len(parts) == 1 else b"".join(parts), connections))
