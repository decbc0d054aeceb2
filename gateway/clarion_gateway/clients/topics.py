"""Decides which topics a connection hears of those that it asks for.

`clarion_gateway.clients.admission` asks at a handshake and when the identity changes, and
`clarion_gateway.clients.memberships` when an open connection subscribes. A token grants topics;
`clarion_contract.events.audience` has the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from clarion_contract.events.audience import Audience, may_subscribe, topic_audience
from clarion_contract.events.topic import InvalidTopic
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.connection import Connection
from clarion_gateway.connections.identity import Identity
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import RefusedTopic, TopicsHeard


@dataclass(frozen=True, slots=True)
class Asked:
    """The topics that a client asks for.

    Attributes:
        granted: audiences of those that it may hear.
        forbidden: the names of those that nobody grants.
        refused: those that the application refuses, with its reasons.
    """

    granted: tuple[Audience, ...] = ()
    forbidden: tuple[str, ...] = ()
    refused: tuple[RefusedTopic, ...] = ()


NOTHING_ASKED = Asked()
# Codes that are no reasons of the application's own: it failed.
_FAILURES: Final = frozenset({"timeout", "internal", "unavailable"})


class Topics:
    """The rules for the topics of one connection.

    Args:
        max_per_connection: the most topics that one connection hears.
    """

    def __init__(self, metrics: Metrics, *, max_per_connection: int) -> None:
        self._metrics = metrics
        self._max = max_per_connection

    def ask(self, identity: Identity, names: Sequence[str]) -> Asked:
        """Part the topics that a client asks for into those that its token grants and the others.

        Args:
            names: as the client wrote them.

        Raises:
            Refused: there are too many, or one of them is no topic's name.
        """
        if not names:
            return NOTHING_ASKED
        granted: list[Audience] = []
        forbidden: list[str] = []
        for audience in self.named(names):
            if may_subscribe(identity, audience.name):
                granted.append(audience)
            else:
                forbidden.append(audience.name)
        return Asked(tuple(granted), tuple(forbidden))

    def named(self, names: Sequence[str]) -> Collection[Audience]:
        """The audiences of the topics that a client names, each once and in order.

        Args:
            names: as the client wrote them.

        Raises:
            Refused: there are too many, or one of them is no topic's name.
        """
        self._check_count(len(names))
        try:
            return dict.fromkeys(topic_audience(name) for name in names).keys()
        except InvalidTopic as invalid:
            self.refused("invalid")
            raise Refused(close_codes.invalid_topic(str(invalid))) from None

    def count(self, asked: Asked) -> None:
        """Count the topics that a client asked for and does not receive."""
        self.refused("forbidden", len(asked.forbidden))
        for each in asked.refused:
            self.refused(each.code if each.code in _FAILURES else "refused")

    def refused(self, reason: str, count: int = 1) -> None:
        """Count topics that clients asked for and do not receive."""
        self._metrics.topics_refused.labels(reason).inc(count)

    def check(self, audiences: Collection[Audience]) -> None:
        """Refuse a connection that would hear too many topics.

        Args:
            audiences: all that take it in.

        Raises:
            Refused: so many topics are more than one connection may hear.
        """
        self._check_count(sum(audience.shown for audience in audiences))

    def _check_count(self, count: int) -> None:
        if count > self._max:
            self.refused("too_many")
            raise Refused(close_codes.too_many_topics(self._max, count))


def kept(connection: Connection, identity: Identity) -> tuple[Audience, ...]:
    """Of the topics that a connection asked for, those that it hears under another identity.

    A topic that the token did not grant was granted by the application, to the user.
    """
    before = connection.identity
    return tuple(
        each
        for each in connection.asked
        if may_subscribe(identity, each.name)
        or (identity.user == before.user and not may_subscribe(before, each.name))
    )


def heard_of(asked: Asked, not_resumed: Sequence[str]) -> TopicsHeard:
    """The outcome for the topics that a client has just asked for."""
    granted = [audience.name for audience in asked.granted]
    return TopicsHeard(granted, asked.forbidden, not_resumed, asked.refused)


def heard(
    connection: Connection, asked: Asked = NOTHING_ASKED, not_resumed: Sequence[str] = ()
) -> TopicsHeard | None:
    """The message about its topics to a client; None: it has none, and asked for none.

    Args:
        asked: what it has just asked for.
    """
    topics = connection.topics
    if not (topics or asked.forbidden or asked.refused):
        return None
    return TopicsHeard(topics, asked.forbidden, not_resumed, asked.refused)
