"""Does for the application's handlers what they ask of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clarion_contract.bus.texts import Texts
from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.event import Publication, Published
from clarion_contract.texts.writer import (
    FLUSH_SECONDS,
    LEASE_SECONDS,
    TextWriter,
    name_or_random,
)
from clarion_gateway.application.checked_queue import Publisher
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.wire.parts import Parts

# Memory of a waiting message beside its bytes.
_ENTRY_BYTES: Final = 200


class GatewayHost:
    """A `clarion_gateway.application.context.Host`: the gateway behind every context.

    Attributes:
        asks: the questions to clients.
        memberships: change what connections hear; set once they are built.
    """

    def __init__(
        self,
        queue: Publisher,
        asks: Asks,
        inbound: Inbound,
        texts: Texts | None = None,
        *,
        text_flush_seconds: float = FLUSH_SECONDS,
        text_lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Begin with nothing that waits.

        Args:
            texts: keeps growing texts.
            inbound: counts the memory of what waits for clients that are not welcomed yet.
        """
        self.asks = asks
        self.memberships: Memberships | None = None
        self._queue = queue
        self._texts = texts
        self._text_flush_seconds = text_flush_seconds
        self._text_lease_seconds = text_lease_seconds
        self._inbound = inbound
        self._early: dict[Connection, list[bytes]] = {}

    async def publish(
        self,
        audience: Audience,
        type_: str,
        data: bytes,
        *,
        exclude: str | None = None,
        history: bool = True,
    ) -> Published:
        """See `clarion_gateway.application.context.Host`."""
        return await self._queue.publish(
            Publication(audience, type_, data, exclude=exclude, history=history)
        )

    def text(self, topic: str, type_: str, name: str | None) -> TextWriter:
        """See `clarion_gateway.application.context.Host`."""
        name = name_or_random(name)
        return TextWriter(
            self._keeper().carrier(topic, type_, name),
            name,
            flush_seconds=self._text_flush_seconds,
            lease_seconds=self._text_lease_seconds,
        )

    async def stop_text(self, topic: str, name: str) -> str | None:
        """See `clarion_gateway.application.context.Host`."""
        return (await self._keeper().stop(topic_audience(topic), name)).state

    def _keeper(self) -> Texts:
        if self._texts is None:
            raise RuntimeError("expected a gateway with growing texts")
        return self._texts

    async def send(
        self, peer: Connection, type_: str, data: bytes, parts: Parts | None = None
    ) -> None:
        """See `clarion_gateway.application.context.Host`."""
        message = peer.format.message(type_, data, parts)
        if peer.state is State.LIVE:
            peer.write(message)
        elif not _has_ended(peer):
            self._early.setdefault(peer, []).append(message)
            self._inbound.hold(peer, len(message) + _ENTRY_BYTES)  # may close the connection
            if _has_ended(peer):
                self.forget(peer)

    async def ask(
        self,
        peer: Connection,
        type_: str,
        data: bytes,
        seconds: float,
        parts: Parts | None = None,
    ) -> bytes:
        """See `clarion_gateway.application.context.Host`."""
        return await self.asks.ask(peer, type_, data, seconds, parts)

    async def subscribe(self, peer: Connection, topics: Sequence[str]) -> None:
        """See `clarion_gateway.application.context.Host`."""
        try:
            await self._memberships().grant(peer, topics)
        except Refused as refused:
            raise Refusal(refused.close.label, refused.close.reason) from None

    async def unsubscribe(self, peer: Connection, topics: Sequence[str]) -> None:
        """See `clarion_gateway.application.context.Host`."""
        await self._memberships().withdraw(peer, topics)

    def _memberships(self) -> Memberships:
        if self.memberships is None:
            raise RuntimeError("expected a gateway that has begun")
        return self.memberships

    def welcomed(self, connection: Connection) -> None:
        """Send what was for a connection before it was live."""
        for message in self._take(connection):
            connection.write(message)

    def forget(self, connection: Connection) -> None:
        """Drop everything for a connection that has ended."""
        self._take(connection)
        self.asks.forget(connection)

    def _take(self, connection: Connection) -> list[bytes]:
        messages = self._early.pop(connection, [])
        for message in messages:
            self._inbound.release(connection, len(message) + _ENTRY_BYTES)
        return messages


def _has_ended(connection: Connection) -> bool:
    return connection.state is State.CLOSED
