"""Gives topics to live connections, and takes them away, as publishers order it.

`clarion_gateway.clients.revocations` hands the orders over. They are carried out one after the
other, between two rounds, and once Redis has confirmed that the pod hears the topics. So a
connection gets everything that is published after its client was told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol

import structlog

from clarion_contract.bus.orders import ChangeSelectedTopics, ChangeTopics
from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.topic import InvalidTopic
from clarion_gateway.clients.remembered_topics import RememberedTopics, recovers
from clarion_gateway.clients.topics import Topics
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import MAIN, TopicsHeard
from clarion_gateway.wire.messages import NO_REF

# So many changes, each of one connection, are made between two rounds: a few milliseconds of work.
_CHANGES_AT_ONCE: Final = 200
# How soon a connection that is not ready for its order is looked at again.
_AGAIN_SECONDS: Final = 0.05

_log = structlog.get_logger(__name__)

TopicsOrder = ChangeTopics | ChangeSelectedTopics

_Change = tuple[Connection, TopicsOrder]


class Joining(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that is used here."""

    def joined(
        self, audiences: Collection[Audience]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep the pod subscribed to audiences while the context lasts."""
        ...


class GivenTopics:
    """The orders about topics that the pod has still to carry out."""

    def __init__(
        self,
        hub: Hub,
        subscription: Joining,
        delivery: Delivery,
        topics: Topics,
        remembered: RememberedTopics,
        metrics: Metrics,
    ) -> None:
        self._hub = hub
        self._subscription = subscription
        self._delivery = delivery
        self._topics = topics
        self._remembered = remembered
        self._metrics = metrics
        self._changes: deque[_Change] = deque()
        self._arrived = asyncio.Event()

    def order(self, order: TopicsOrder) -> None:
        """Take an order, for the connections that are here now and that it concerns.

        A user's connections to other namespaces than the main one have topics of their own.
        """
        if isinstance(order, ChangeTopics):
            of_user = self._hub.of_user(order.user)
            concerned = [each for each in of_user if each.format.namespace == MAIN]
        else:
            concerned = self._hub.selected(order.any_of, order.none_of)
        self._changes.extend((connection, order) for connection in concerned)
        if concerned:
            self._arrived.set()

    async def run(self) -> None:
        """Carry out orders, for ever."""
        while True:
            await self._arrived.wait()
            count = min(len(self._changes), _CHANGES_AT_ONCE)
            later = await self._carry_out([self._changes.popleft() for _ in range(count)])
            # In their order, before others for the same connections.
            self._changes.extendleft(reversed(later))
            if not self._changes:
                self._arrived.clear()
            elif later:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _carry_out(self, changes: Sequence[_Change]) -> list[_Change]:
        """Make changes; returns those of connections that are not ready for them."""
        added = {topic for _, order in changes for topic in _audiences(order.add)}
        later: list[_Change] = []
        async with contextlib.AsyncExitStack() as stack:
            waiting = await self._remember(changes, stack)
            await stack.enter_async_context(self._subscription.joined(added))
            await stack.enter_async_context(self._delivery.between_rounds())
            for connection, order in changes:
                if connection.state is State.CLOSED:
                    continue
                if connection.state is State.CATCHING_UP or connection in waiting:
                    # It may not have been welcomed yet, or could lose a topic with the pod.
                    waiting.add(connection)
                    later.append((connection, order))
                elif connection.state is State.LIVE and _concerns(order, connection):
                    self._change(connection, order)
        with contextlib.suppress(BusUnavailable):  # what was taken, too; else it is written later
            await self._remembered.save(connection for connection, _ in changes)
        return later

    async def _remember(
        self, changes: Sequence[_Change], stack: contextlib.AsyncExitStack
    ) -> set[Connection]:
        """Let Redis hold the topics that are given, before their clients hear of them.

        Returns the connections whose topics it does not hold.
        """
        for connection, order in changes:
            given = _audiences(order.add)
            stack.enter_context(self._remembered.coming({connection: given}))
        gains = [connection for connection, order in changes if order.add]
        try:
            await self._remembered.save(gains)
        except BusUnavailable:
            return {connection for connection in gains if recovers(connection)}
        return set()

    def _change(self, connection: Connection, order: TopicsOrder) -> None:
        before = {*connection.topics}
        removed = {*_audiences(order.remove)}
        asked = [each for each in connection.asked if each not in removed]
        given = [each for each in connection.given if each not in removed]
        added = [each for each in _audiences(order.add) if each not in given]
        try:
            self._topics.check({*connection.audiences, *added} - removed)
        except Refused as refused:
            _log.warning("topics not given", user=connection.user, reason=refused.close.reason)
            added = []
        self._hub.hear(connection, tuple(asked), (*given, *added))
        self._tell(connection, order, before)

    def _tell(self, connection: Connection, order: TopicsOrder, before: Collection[str]) -> None:
        """Tell the client what has changed, if anything has."""
        after = connection.topics
        new = [name for name in after if name not in before]
        gone = [name for name in before if name not in after]
        if new:
            self._metrics.topic_changes.labels("give").inc(len(new))
            position = self._delivery.position
            connection.write(connection.format.subscribed(NO_REF, position, TopicsHeard(new)))
        if gone:
            self._metrics.topic_changes.labels("take").inc(len(gone))
            kept = [name for name in order.remove if name in after]
            connection.write(connection.format.unsubscribed(NO_REF, sorted(gone), kept))


def _concerns(order: TopicsOrder, connection: Connection) -> bool:
    """Whether an order still concerns a connection: its user may have changed."""
    return not isinstance(order, ChangeTopics) or connection.user == order.user


def _audiences(names: Iterable[str]) -> list[Audience]:
    """The audiences of topics; names that are none, as of a later version, are left out."""
    found = []
    for name in names:
        with contextlib.suppress(InvalidTopic):
            found.append(topic_audience(name))
    return found
