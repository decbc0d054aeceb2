"""Subscribes open connections to topics, and unsubscribes them.

`clarion_gateway.clients.inbox` hands the messages over, those of one connection one at a time. A
connection begins to hear a topic between two rounds, after Redis has confirmed that the pod hears
it. So every event above the id in the answer reaches the client, once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final, Protocol

from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.recall import InvalidPast, Past, Recall, Recalled
from clarion_gateway.clients.remembered_topics import RememberedTopics
from clarion_gateway.clients.topics import Asked, Topics, heard_of
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.shares import Busy, Party, Pool
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.messages import NO_REF, Subscribe, Unsubscribe

# So many topics at once may wait for Redis to confirm them, on behalf of messages. They keep Redis
# busy for some milliseconds.
_UNCONFIRMED_MAX: Final = 4_096
_POLL_SECONDS: Final = 0.05


class Joining(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that memberships use."""

    def joined(
        self, audiences: Collection[Audience]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep the pod subscribed to audiences while the context lasts."""
        ...

    def interned(self, audiences: Collection[Audience]) -> tuple[Audience, ...]:
        """The same audiences, as objects that all connections share."""
        ...

    def unconfirmed(self, audiences: Collection[Audience]) -> int:
        """The number of audiences for which Redis has yet to confirm the pod's subscription."""
        ...


class Memberships:
    """Changes what open connections hear, as their clients ask.

    Args:
        wait_seconds: how long a client waits for the bus at most.
    """

    def __init__(
        self,
        hub: Hub,
        subscription: Joining,
        delivery: Delivery,
        topics: Topics,
        grants: Grants,
        recall: Recall,
        remembered: RememberedTopics,
        metrics: Metrics,
        *,
        wait_seconds: float,
    ) -> None:
        self._hub = hub
        self._subscription = subscription
        self._delivery = delivery
        self._topics = topics
        self._grants = grants
        self._recall = recall
        self._remembered = remembered
        self._metrics = metrics
        self._wait_seconds = wait_seconds
        self._unconfirmed = Pool(_UNCONFIRMED_MAX, wait_seconds / 2)

    async def subscribe(self, connection: Connection, message: Subscribe) -> None:
        """Let a connection hear the topics that its client asks for and may hear.

        The client gets ``subscribed``, or an ``error`` if it asks for something that cannot be.
        """
        try:
            past = self._recall.past(message)
            asked = self._topics.ask(connection.identity, message.topics)
            if asked.forbidden:
                asked = await self._grants.ask(connection, connection.user, asked)
            self._topics.count(asked)
            self._topics.check({*connection.audiences, *asked.granted})
            if past is None:
                past = self._recall.last_values(asked.granted)
            async with self._heard(connection, asked.granted, past) as recalled:
                self._begin(connection, message.ref, asked, recalled)
        except InvalidPast as invalid:
            self._topics.refused("invalid", len(message.topics))
            self._error(connection, message.ref, invalid.code, str(invalid))
        except Refused as refused:
            self._error(connection, message.ref, refused.close.label, refused.close.reason)
        except (TimeoutError, BusUnavailable, Busy):
            self._topics.refused("unavailable", len(message.topics))
            self._error(connection, message.ref, "unavailable", "try again")

    async def unsubscribe(self, connection: Connection, message: Unsubscribe) -> None:
        """Let a connection hear topics no more; the client gets ``unsubscribed``, or an ``error``.

        Topics that the token lists stay.
        """
        try:
            named = self._topics.named(message.topics)
        except Refused as refused:
            self._error(connection, message.ref, refused.close.label, refused.close.reason)
        else:
            await self._end(connection, message.ref, named)

    async def grant(self, connection: Connection, topics: Sequence[str]) -> None:
        """Let a connection hear topics because the application says so; the client is told.

        Args:
            topics: valid names.

        Raises:
            Refused: the connection would hear too many topics.
            BusUnavailable: Redis does not answer in time.
        """
        audiences = tuple(self._topics.named(topics))
        if connection.state is State.OPENING:  # admission joins them
            connection.asked = (*dict.fromkeys([*connection.asked, *audiences]),)
            return
        await _caught_up(connection)
        new = tuple(each for each in audiences if each not in connection.audiences)
        self._topics.check({*connection.audiences, *new})
        if not new:
            return
        try:
            past = self._recall.last_values(new)
            async with self._heard(connection, new, past) as recalled:
                self._begin(connection, NO_REF, Asked(new), recalled)
        except (TimeoutError, Busy):
            raise BusUnavailable("the topics were not confirmed in time") from None

    async def withdraw(self, connection: Connection, topics: Sequence[str]) -> None:
        """Let a connection hear topics no more because the application says so.

        Args:
            topics: valid names.
        """
        audiences = [topic_audience(name) for name in topics]
        if connection.state is State.OPENING:
            connection.asked = tuple(each for each in connection.asked if each not in audiences)
            return
        await _caught_up(connection)
        named = dict.fromkeys(each for each in audiences if each in connection.asked)
        if named:
            await self._end(connection, NO_REF, named)

    async def _end(self, connection: Connection, ref: bytes, named: Collection[Audience]) -> None:
        async with self._delivery.between_rounds():
            if connection.state is State.CLOSED:
                return
            left = [audience for audience in connection.asked if audience not in named]
            self._metrics.topic_changes.labels("unsubscribe").inc(len(connection.asked) - len(left))
            self._hub.hear(connection, tuple(left))
            hears = set(connection.topics)
            names = [audience.name for audience in named]
            gone = [name for name in names if name not in hears]
            kept = [name for name in names if name in hears]
            connection.write(connection.format.unsubscribed(ref, gone, kept))
        with contextlib.suppress(BusUnavailable):  # it is written later
            await self._remembered.save([connection])

    @contextlib.asynccontextmanager
    async def _heard(
        self, connection: Connection, audiences: Sequence[Audience], past: Past | None
    ) -> AsyncIterator[Recalled | None]:
        """Wait until the pod hears audiences, and for the time between two rounds.

        Yields what was read of their past, if that is asked for.

        Raises:
            BusUnavailable: Redis does not answer, or loses events again and again.
            Busy: too many other topics wait for Redis.
            TimeoutError: Redis does not confirm in time.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(self._remembered.coming({connection: audiences}))
            async with asyncio.timeout(self._wait_seconds):
                if audiences:
                    await self._remembered.save([connection])
                async with self._room(connection, self._subscription.unconfirmed(audiences)):
                    await stack.enter_async_context(self._subscription.joined(audiences))
            yield await stack.enter_async_context(
                self._recall.between_rounds(connection, audiences, past, self._wait_seconds)
            )

    def _room(
        self, connection: Connection, unconfirmed: int
    ) -> contextlib.AbstractAsyncContextManager[None]:
        if not unconfirmed:
            return contextlib.nullcontext()
        party = Party(connection.user)
        return self._unconfirmed.part(party, min(unconfirmed, self._unconfirmed.share(party)))

    def _begin(
        self, connection: Connection, ref: bytes, asked: Asked, recalled: Recalled | None
    ) -> None:
        """Answer, and let the connection hear the topics; call it between two rounds."""
        if connection.state is State.CLOSED:
            return
        before = connection.asked
        after = dict.fromkeys([*before, *self._subscription.interned(asked.granted)])
        if len(after) > len(before):
            self._hub.hear(connection, tuple(after))
            self._metrics.topic_changes.labels("subscribe").inc(len(after) - len(before))
        found = recalled and self._recall.find(connection, asked.granted, recalled)
        not_resumed = found.not_resumed if found else ()
        self._metrics.topics_not_resumed.inc(len(not_resumed))
        connection.write(
            connection.format.subscribed(
                ref,
                self._delivery.position,
                heard_of(asked, not_resumed),
                found.events if found else None,
            )
        )

    def _error(self, connection: Connection, ref: bytes, code: str, message: str) -> None:
        connection.write(connection.format.error(ref, code, message))


async def _caught_up(connection: Connection) -> None:
    """Return when a connection that resumes has caught up: its ``welcome`` must come first."""
    while connection.state is State.CATCHING_UP:  # noqa: ASYNC110 - hardly ever, and not for long
        await asyncio.sleep(_POLL_SECONDS)
