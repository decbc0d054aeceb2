"""The meaning of a producer's message in Clarion: rooms are topics, or users. Pure.

A room of the main namespace is the topic of its name, or a user where the room's name begins as the
operator has set. A room of another namespace is a topic that begins with the namespace:
``/admin.room7``. All of a namespace are the audience ``all``, or the topic of the namespace's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clarion_contract.bus.orders import ChangeSelectedTopics, DisconnectSelected
from clarion_contract.events.audience import ALL, KINDS, Audience
from clarion_contract.events.exclusion import (
    NAMES_MAX_CHARACTERS,
    exclusion_of,
    extended,
    is_connection_id,
)
from clarion_contract.events.naming import InvalidName
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.json_text import bad_json
from clarion_publisher.ingestion.refusal import FieldError, Refusal, invalid_event
from clarion_publisher.sources.socketio.message import MAIN, Command, Disconnect, Emit, Target

SelectedOrder = DisconnectSelected | ChangeSelectedTopics

# An order is carried out when it comes. A gateway that has no Redis just then carries it out if it
# is back within this time; longer would concern clients that have come since.
_ORDER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Translation:
    """The rules.

    Attributes:
        user_rooms: beginning of the names of rooms that are users, such as ``user:``; empty: none.
    """

    user_rooms: str = ""

    def events(self, emit: Emit, key: str) -> list[IncomingEvent | Refusal]:
        """One event for each room; a socket in several of them gets the first.

        Args:
            key: of the message, see `IncomingEvent.key`.
        """
        data = joined(emit.arguments)
        refusal = bad_json(data)
        if refusal is not None:
            return [refusal]
        target = emit.target
        exclude = exclusion_of(self._names(target, target.without))
        events: list[IncomingEvent | Refusal] = []
        for place, audience in enumerate(self._audiences(target)):
            if exclude is not None and len(exclude) > NAMES_MAX_CHARACTERS:
                expected = f"rooms of {NAMES_MAX_CHARACTERS} characters in all"
                return [invalid_event(FieldError("/rooms", expected, f"{len(exclude)}"))]
            own_key = f"{key}:{place}"
            event = IncomingEvent(
                audience,
                emit.name,
                data,
                own_key,
                exclude,
                history=not emit.volatile,
                arguments=len(emit.arguments) != 1,
            )
            events.append(event)
            exclude = extended(exclude, audience.stream)
        return events

    def order(self, command: Command, id_: str, at: float) -> SelectedOrder:
        """The order to all gateways.

        Args:
            id_: the same each time that the same message is read.
            at: when the message was written, seconds since the epoch; likewise.

        Raises:
            Refusal: a room is no topic.
        """
        target = command.target
        any_of = self._names(target, target.rooms) or (self._everybody(target).stream,)
        none_of = self._names(target, target.without)
        end = at + _ORDER_SECONDS
        if isinstance(command, Disconnect):
            return DisconnectSelected(id_, any_of, none_of, end)
        topics = tuple(self._topic(target, room) for room in command.rooms)
        add, remove = (topics, ()) if command.deed == "join" else ((), topics)
        return ChangeSelectedTopics(id_, any_of, none_of, add, remove, end)

    def _audiences(self, target: Target) -> list[Audience]:
        if not target.rooms:
            return [self._everybody(target)]
        return [self._audience(target, room) for room in target.rooms]

    def _everybody(self, target: Target) -> Audience:
        return ALL if target.namespace == MAIN else Audience("topic", target.namespace)

    def _audience(self, target: Target, room: str) -> Audience:
        if target.namespace != MAIN:
            return Audience("topic", f"{target.namespace}.{room}")
        if self.user_rooms and room.startswith(self.user_rooms):
            return Audience("user", room.removeprefix(self.user_rooms))
        return Audience("topic", room)

    def _names(self, target: Target, rooms: Sequence[str]) -> tuple[str, ...]:
        """Streams, and ids of connections: each socket is in a room of its own id."""
        ids = [room for room in rooms if is_connection_id(room)]
        return (*ids, *(self._audience(target, room).stream for room in rooms))

    def _topic(self, target: Target, room: str) -> str:
        audience = self._audience(target, room)
        naming = KINDS[audience.kind].naming
        if audience.kind != "topic" or naming is None:
            raise invalid_event(FieldError("/rooms", "a room that is no user", repr(room[:40])))
        try:
            return naming.check(audience.name)
        except InvalidName:
            raise invalid_event(FieldError("/rooms", naming.expected, repr(room[:40]))) from None


def joined(arguments: Sequence[bytes]) -> bytes:
    """The data of an event: its argument; ``null`` for none, an array for several."""
    if len(arguments) == 1:
        return arguments[0]
    return b"[%b]" % b",".join(arguments) if arguments else b"null"
