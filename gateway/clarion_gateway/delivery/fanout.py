"""Plans one delivery round: which bytes are written to which connections. Pure, no I/O.

`clarion_gateway.delivery.rounds` asks for the plan and writes it. Each event is encoded once per
wire format. All events of a round are joined into one buffer per group of connections. A connection
gets a buffer of its own only if a targeted event or an exclusion concerns it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from clarion_contract.events.event import Event
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.hub import Hub
from clarion_gateway.wire.format import WireFormat

_by_id: Final = attrgetter("id")


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
    singled_out = _singled_out(events, hub)
    for group in hub.groups:
        if not group.members:
            continue
        shared = [event for event in events if event.audience.stream in group.streams]
        if shared:
            members = group.members
            connections = list(members.keys() - singled_out.keys() if singled_out else members)
            _add(result, group.format, connections, shared, frames)
    for connection, own in singled_out.items():
        if own:
            _add(result, connection.format, (connection,), own, frames)
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
        for connection in hub.members(event.audience):
            if connection.held is None and connection.receives(event):
                sizes[connection.format] += 1
    else:
        for group in hub.groups:
            if event.audience.stream in group.streams:
                sizes[group.format] += len(group.members)
        excluded = None if event.exclude is None else hub.find(event.exclude)
        if (
            excluded is not None
            and excluded.held is None
            and event.audience.stream in excluded.shared_streams
        ):
            sizes[excluded.format] -= 1
    size_bytes = sum(
        len(wire_format.event(event)) * count for wire_format, count in sizes.items() if count
    )
    return sizes.total(), size_bytes


def _singled_out(events: Sequence[Event], hub: Hub) -> dict[Connection, list[Event]]:
    """The live connections that get other events than their group, each with all its events."""
    targeted: dict[Connection, list[Event]] = {}
    for event in events:
        if event.audience.named:
            for connection in hub.members(event.audience):
                if connection.held is None:
                    targeted.setdefault(connection, []).append(event)
        elif event.exclude is not None:
            excluded = hub.find(event.exclude)
            if excluded is not None and excluded.held is None:
                targeted.setdefault(excluded, [])
    if not targeted:
        return {}
    shared = [event for event in events if not event.audience.named]
    return {connection: _merge(connection, own, shared) for connection, own in targeted.items()}


def _merge(connection: Connection, own: list[Event], shared: Sequence[Event]) -> list[Event]:
    merged = sorted([*shared, *own], key=_by_id) if shared else own
    return [event for event in merged if connection.receives(event)]


def _add(
    result: Plan,
    wire_format: WireFormat,
    connections: Sequence[Connection],
    events: Sequence[Event],
    frames: dict[tuple[WireFormat, int], bytes],
) -> None:
    if not connections:
        return
    parts = []
    wire = wire_format.name
    for event in events:
        frame = frames.get((wire_format, event.id))
        if frame is None:
            frame = frames[wire_format, event.id] = wire_format.event(event)
        parts.append(frame)
        result.deliveries[event.audience.kind, wire] += len(connections)
    result.batches.append((parts[0] if len(parts) == 1 else b"".join(parts), connections))
