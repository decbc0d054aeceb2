"""Who gets which bytes: the plan of one delivery round. Pure, no I/O.

All events of a round are joined into one buffer per group of connections, encoded once per wire
format. Only connections that something singles out (a targeted event, an exclusion) get a join of
their own.
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
from clarion_gateway.wire.encoder import Encoder

_by_id: Final = attrgetter("id")


@dataclass(slots=True)
class Plan:
    """What a round writes.

    Attributes:
        batches: a buffer and the connections that it goes to.
        deliveries: events times connections, by (audience kind, wire).
        recipients: connections by event id; only of the events asked for.
    """

    batches: list[tuple[bytes, Sequence[Connection]]] = field(default_factory=list)
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def recipients(self) -> int:
        """Connections written to."""
        return sum(len(connections) for _, connections in self.batches)

    @property
    def size_bytes(self) -> int:
        """Bytes written, over all connections."""
        return sum(len(payload) * len(connections) for payload, connections in self.batches)


def plan(events: Sequence[Event], hub: Hub) -> Plan:
    """The writes of one round; connections that are catching up get the events into ``held``."""
    result = Plan()
    frames: dict[tuple[Encoder, int], bytes] = {}
    for_all = [event for event in events if event.audience.kind == "all"]
    for_authenticated = [event for event in events if event.audience.kind != "user"]
    singled_out = _singled_out(events, for_authenticated, hub)
    for group in hub.groups:
        for members, shared in (
            (group.anonymous, for_all),
            (group.authenticated, for_authenticated),
        ):
            if members and shared:
                connections = list(members.keys() - singled_out.keys() if singled_out else members)
                _add(result, group.encoder, connections, shared, frames)
    for connection, own in singled_out.items():
        if own:
            _add(result, connection.encoder, (connection,), own, frames)
    return result


def hold(events: Iterable[Event], hub: Hub, max_events: int, max_bytes: int) -> None:
    """Keep events for the connections that are still catching up with what they missed.

    One that leaves more than ``max_events`` of them, or ``max_bytes``, is a slow consumer.
    """
    for connection in list(hub.catching_up):
        if connection.held is not None:
            connection.held.add(event for event in events if is_for(connection, event, hub))
            if len(connection.held) > max_events or connection.held.cost_bytes > max_bytes:
                connection.close(close_codes.SLOW_CONSUMER)


def is_for(connection: Connection, event: Event, hub: Hub) -> bool:
    """Whether a connection receives an event."""
    return event.exclude != connection.id and hub.receives(connection, event.audience)


def reach(event: Event, hub: Hub) -> tuple[int, int]:
    """Live connections that an event goes to on this pod, and bytes: for its span."""
    sizes: Counter[Encoder] = Counter()
    if event.audience.user is not None:
        for connection in hub.of_user(event.audience.user):
            if connection.held is None and is_for(connection, event, hub):
                sizes[connection.encoder] += 1
    else:
        for group in hub.groups:
            sizes[group.encoder] = len(group.authenticated)
            if event.audience.kind == "all":
                sizes[group.encoder] += len(group.anonymous)
        excluded = None if event.exclude is None else hub.find(event.exclude)
        if (
            excluded is not None
            and excluded.held is None
            and hub.receives(excluded, event.audience)
        ):
            sizes[excluded.encoder] -= 1
    size_bytes = sum(len(encoder.event(event)) * count for encoder, count in sizes.items() if count)
    return sizes.total(), size_bytes


def _singled_out(
    events: Sequence[Event], shared: Sequence[Event], hub: Hub
) -> dict[Connection, list[Event]]:
    """Live connections that get more or less than their group, with all that they get."""
    targeted: dict[Connection, list[Event]] = {}
    for event in events:
        if event.audience.user is not None:
            for connection in hub.of_user(event.audience.user):
                if connection.held is None:
                    targeted.setdefault(connection, []).append(event)
        elif event.exclude is not None:
            excluded = hub.find(event.exclude)
            if excluded is not None and excluded.held is None:
                targeted.setdefault(excluded, [])
    return {
        connection: _merge(connection, own, shared, hub) for connection, own in targeted.items()
    }


def _merge(
    connection: Connection, own: list[Event], shared: Sequence[Event], hub: Hub
) -> list[Event]:
    merged = sorted([*shared, *own], key=_by_id) if shared else own
    return [event for event in merged if is_for(connection, event, hub)]


def _add(
    result: Plan,
    encoder: Encoder,
    connections: Sequence[Connection],
    events: Sequence[Event],
    frames: dict[tuple[Encoder, int], bytes],
) -> None:
    if not connections:
        return
    parts = []
    wire = encoder.wire
    for event in events:
        frame = frames.get((encoder, event.id))
        if frame is None:
            frame = frames[encoder, event.id] = encoder.event(event)
        parts.append(frame)
        result.deliveries[event.audience.kind, wire] += len(connections)
    result.batches.append((parts[0] if len(parts) == 1 else b"".join(parts), connections))
