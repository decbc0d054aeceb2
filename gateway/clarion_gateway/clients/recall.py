"""Finds what a client that subscribes gets of the past: the last events, or those since an id.

`clarion_gateway.clients.memberships` puts them into its answer. They come from
`clarion_gateway.delivery.topic_rings`, so no event falls between them and the first live one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final, Protocol

from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Event, InvalidPosition, parse_position
from clarion_contract.events.topic_rules import NO_RULES, TopicRules
from clarion_gateway.clients.topics import Asked, heard_of
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.shares import Party
from clarion_gateway.delivery.topic_rings import TopicRing, TopicRings, Want
from clarion_gateway.wire.messages import NO_REF, Subscribe

_by_id: Final = attrgetter("id")
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
# So often the past is read again if the pod loses events meanwhile.
_ATTEMPTS: Final = 3


class InvalidPast(ValueError):
    """A message asks for a past that cannot be.

    Args:
        code: of the error that the client gets.
        message: what was expected.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Refreshing(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that is used here."""

    async def refresh(self) -> None:
        """Return when everything that was published before the call has been delivered."""
        ...


@dataclass(frozen=True, slots=True)
class Past:
    """The part of the past that a client asks for: the last events, or those since an id.

    Attributes:
        topics: the names of the topics that have it; None: all that the client asks for.
    """

    last: int = 0
    since: int = 0
    topics: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Recalled:
    """The rings in which the past of some topics stands; the events are taken out later.

    Attributes:
        is_future: whether the client's position is none of this Redis, or not yet.
    """

    past: Past
    rings: Sequence[TopicRing]
    is_future: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The part of the past that a client gets.

    Attributes:
        events: in id order.
        not_resumed: topics of which events since the client's position are missing.
    """

    events: Sequence[Event]
    not_resumed: Sequence[str]


class Recall:
    """Reads the past of topics for clients that subscribe.

    Args:
        room: bounds the reads of Redis, together with those for clients that resume.
        max_events: the most events in one answer.
        max_bytes: the most memory of these.
        rules: name the topics whose last value every subscriber gets.
    """

    def __init__(
        self,
        rings: TopicRings,
        subscription: Refreshing,
        delivery: Delivery,
        room: ReplayRoom,
        *,
        max_events: int,
        max_bytes: int,
        positions: Positions = ONE_CLOCK,
        rules: TopicRules = NO_RULES,
    ) -> None:
        self._rules = rules
        self._rings = rings
        self._subscription = subscription
        self._delivery = delivery
        self._room = room
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._positions = positions

    def past(self, message: Subscribe) -> Past | None:
        """The part of the past that a message asks for; None: nothing.

        Raises:
            InvalidPast: there is no such past.
        """
        if message.last is not None and message.since is not None:
            raise InvalidPast("invalid_last", "expected last or since, got both")
        if message.last is not None:
            return Past(last=self._checked(message.last))
        if message.since is not None:
            try:
                return Past(since=parse_position(message.since))
            except InvalidPosition:
                raise InvalidPast("invalid_since", "expected since to be an event's id") from None
        return None

    def last_values(self, audiences: Sequence[Audience]) -> Past | None:
        """The past that subscribers of these topics get without asking; None: nothing."""
        if not self._rules.have_last_values:
            return None
        names = frozenset(each.name for each in audiences if self._rules.of(each.name).last_value)
        return Past(last=1, topics=names) if names else None

    def opening_past(
        self, last: str | None, asked: Sequence[Audience], heard: Sequence[Audience]
    ) -> Past | None:
        """The past that a client gets with its ``welcome``; None: nothing.

        Args:
            last: so many of the newest events of the topics that it asked for, as it wrote it.
            heard: all topics that it hears.

        Raises:
            InvalidPast: there is no such past.
        """
        past = self.last_values(heard)
        if last is None:
            return past
        if not _COUNT.fullmatch(last):
            raise InvalidPast("invalid_last", "expected last to be a number")
        names = frozenset(each.name for each in asked)
        if past is not None and past.topics is not None:
            names |= past.topics
        count = self._checked(int(last))
        return Past(last=count, topics=names) if names else None

    def _checked(self, last: int) -> int:
        if not 1 <= last <= self._max_events:
            raise InvalidPast(
                "invalid_last", f"expected last to be 1 to {self._max_events}, got {last}"
            )
        return last

    @contextlib.asynccontextmanager
    async def between_rounds(
        self,
        connection: Connection,
        audiences: Sequence[Audience],
        past: Past | None,
        wait_seconds: float,
    ) -> AsyncIterator[Recalled | None]:
        """Read the past of topics, and yield it between two rounds; None: nothing was asked for.

        Raises:
            BusUnavailable: Redis does not answer, or loses events again and again.
            Busy: too many other clients want something of the past.
            TimeoutError: Redis does not answer in time.
        """
        for _ in range(_ATTEMPTS):
            recalled = None
            if past is not None:
                async with asyncio.timeout(wait_seconds):
                    recalled = await self.read(connection, audiences, past)
            async with self._delivery.between_rounds():
                if recalled is None or self.is_whole(recalled):
                    yield recalled
                    return
        raise BusUnavailable("events were lost while they were read")

    async def read(
        self, connection: Connection, audiences: Sequence[Audience], past: Past
    ) -> Recalled:
        """Read the past of topics to which the pod is subscribed.

        Raises:
            BusUnavailable: Redis does not answer.
            Busy: too many other clients want something of the past.
        """
        since = self._positions.shared_since(past.since)
        if since > self._delivery.position:  # another pod may have been ahead a little
            await self._subscription.refresh()
            if since > self._delivery.position:
                return Recalled(past, (), is_future=True)
        wants = [
            Want(audience, self._positions.user_since(past.since), past.last)
            for audience in audiences
            if past.topics is None or audience.name in past.topics
        ]
        async with self._room.turn(Party(connection.user)):
            rings = await self._read_far_enough(connection, wants, past)
        if not self._positions.exact or self._is_ahead(rings):
            # The pod's position says nothing about topics. Wait until everything that was read has
            # been delivered to those that are subscribed already. So also for a growing text that
            # was read ahead of the pod: it holds pieces that the pod has delivered.
            await self._subscription.refresh()
        return Recalled(past, rings)

    async def _read_far_enough(
        self, connection: Connection, wants: Sequence[Want], past: Past
    ) -> Sequence[TopicRing]:
        """The rings, with as many events as the client may be told, if there are so many.

        Some of the newest events may exclude the client, and some will come live.
        """
        while True:
            rings = await self._rings.get(wants)
            is_short = [
                not ring.is_deep and len(self._delivered(connection, ring, past)) < past.last
                for ring in rings
            ]
            if not any(is_short):
                return rings
            wants = [
                replace(want, last=2 * want.last) if short else want
                for want, short in zip(wants, is_short, strict=True)
            ]

    def is_whole(self, recalled: Recalled) -> bool:
        """Whether nothing has been lost to the rings since they were read."""
        return self._rings.hold(recalled.rings) and not self._is_ahead(recalled.rings)

    def find(
        self, connection: Connection, audiences: Sequence[Audience], recalled: Recalled
    ) -> Found:
        """Take the events out of the rings; call it between two rounds.

        They are those that were delivered before. All others will be delivered.
        """
        if recalled.is_future:
            return Found((), [audience.name for audience in audiences])
        share = max(1, len(recalled.rings))
        found: list[Event] = []
        not_resumed = []
        for ring in recalled.rings:
            events = self._delivered(connection, ring, recalled.past)
            fitting = _newest(events, self._max_events // share, self._max_bytes // share)
            is_missing = len(fitting) < len(events) or not self._reaches(ring, recalled.past)
            if recalled.past.last or not is_missing:
                found += fitting
            else:
                not_resumed.append(ring.audience.name)
        return Found(sorted(found, key=_by_id), not_resumed)

    def tell(
        self, connection: Connection, audiences: Sequence[Audience], recalled: Recalled
    ) -> None:
        """Write the events to a connection, if there are any; call it between two rounds.

        They come in a ``subscribed`` of their own, after the answer that lets the client hear the
        topics.
        """
        if connection.state is State.CLOSED:
            return
        found = self.find(connection, audiences, recalled)
        if found.events:
            named = heard_of(Asked(tuple(ring.audience for ring in recalled.rings)), ())
            position = self._delivery.position
            connection.write(connection.format.subscribed(NO_REF, position, named, found.events))

    def _is_ahead(self, rings: Sequence[TopicRing]) -> bool:
        """Whether a growing text was read further than the pod has delivered it."""
        position = self._delivery.position
        for ring in rings:
            for event in reversed(ring.events):  # nearly always, the pod has delivered the newest
                if self._positions.is_delivered(event.id, position):
                    break
                if event.of_text:
                    return True
        return False

    def _delivered(self, connection: Connection, ring: TopicRing, past: Past) -> list[Event]:
        position = self._delivery.position
        events = (
            event
            for event in reversed(ring.events)
            if self._positions.is_delivered(event.id, position)
            and not connection.is_left_out(event)
        )
        if past.last:
            newest = list(itertools.islice(events, past.last))
        else:
            since = self._positions.user_since(past.since)
            newest = list(itertools.takewhile(lambda event: event.id > since, events))
        return newest[::-1]

    def _reaches(self, ring: TopicRing, past: Past) -> bool:
        since = self._positions.user_since(past.since)
        return ring.reaches(Want(ring.audience, since)) or ring.has(past.since)


def _newest(events: Sequence[Event], max_events: int, max_bytes: int) -> Sequence[Event]:
    """As many of the newest events as fit."""
    count, cost_bytes = 0, 0
    for event in reversed(events):
        cost_bytes += event.cost_bytes
        if count == max_events or cost_bytes > max_bytes:
            break
        count += 1
    return events[len(events) - count :]
