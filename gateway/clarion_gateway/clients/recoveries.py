"""Lets a client of Socket.IO go on with the connection that it had, its topics included.

`clarion_gateway.clients.admission` asks at a handshake. A client that cannot recover begins as one
that has never been here, with an id of its own: the one of before would say that it has recovered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from msgspec import structs

from clarion_contract.events.audience import topic_audience
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.hooks import ConnectionHooks
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.remembered_topics import RememberedTopics
from clarion_gateway.clients.topics import Asked
from clarion_gateway.connections.connection import Connection, State, new_id
from clarion_gateway.connections.hub import Hub
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import WireFormat


class Return(NamedTuple):
    """The way in which a client comes back.

    Attributes:
        opening: its wishes. It recovers if ``recovering`` is still among them.
        since: the position from which it misses events; None: it begins anew.
        topics: those that it heard; whether it was the token that granted them.
    """

    opening: Opening
    since: int | None
    topics: Mapping[str, bool]


_NO_TOPICS: Final[Mapping[str, bool]] = {}


class Recoveries:
    """Gives a connection the id and the topics of an earlier one, and takes them away again."""

    def __init__(
        self,
        hub: Hub,
        remembered: RememberedTopics,
        metrics: Metrics,
        *,
        hooks: ConnectionHooks | None,
        grants: Grants | None,
    ) -> None:
        self._hub = hub
        self._remembered = remembered
        self._metrics = metrics
        self._hooks = hooks
        self._grants = grants

    async def find(self, connection: Connection, opening: Opening, user: str | None) -> Return:
        """Give a connection the id of the one that its client wants to go on with.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        recovered = None if opening.recovering is None else opening.recovering.read(user)
        new = Return(structs.replace(opening, recovering=None), None, _NO_TOPICS)
        if recovered is None:
            return new
        topics = _NO_TOPICS
        if recovered.has_topics:
            remembered = await self._remembered.read(recovered.connection, user)
            if remembered is None:
                self._metrics.resumes.labels("not_resumed").inc()
                return new
            topics = remembered
            connection.format = connection.format.with_topics or connection.format
        connection.id = recovered.connection
        opening = structs.replace(opening, resumes=connection.id)
        return Return(opening, recovered.since, topics)

    def restored(self, connection: Connection, asked: Asked, topics: Mapping[str, bool]) -> Asked:
        """Grant what a handler or an order granted, unless the application decides about it anew.

        Args:
            asked: with the decisions about all that the client heard.
            topics: see `Return`.
        """
        again = [
            name
            for name in asked.forbidden
            if topics.get(name) is False
            and not (self._grants is not None and self._grants.decides(connection, name))
        ]
        if not again:
            return asked
        return replace(
            asked,
            granted=(*asked.granted, *map(topic_audience, again)),
            forbidden=tuple(name for name in asked.forbidden if name not in again),
        )

    async def give_up(self, connection: Connection, wire_format: WireFormat) -> None:
        """Let a connection begin anew. For the application, the one of before ends.

        Args:
            wire_format: of the connection before `find`.
        """
        self._hub.remove(connection)
        connection.state = State.OPENING
        if self._hooks is not None:
            await self._hooks.leave(connection)
        connection.id, connection.format = new_id(), wire_format
        connection.asked, connection.data = (), None
