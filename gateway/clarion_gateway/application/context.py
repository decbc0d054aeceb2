"""What a handler knows of its client, and what it can do for it.

`clarion_gateway.clients` makes a `Context` for each message. Behind it stands a `Host`: the
gateway, or `clarion.testing` in tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Published, check_type
from clarion_gateway.application.codec import encode
from clarion_gateway.application.scope import HasState


@dataclass(frozen=True, slots=True)
class Reply:
    """The return value of a handler, encoded. It cannot be changed.

    Attributes:
        type: of the message that the reply answers.
        data: JSON in UTF-8.
    """

    type: str
    data: bytes


class Peer(Protocol):
    """A connection, as far as the application's side knows it.

    Attributes:
        data: what the application keeps for the connection; None until it keeps something.
    """

    data: dict[str, Any] | None


class Host(Protocol):
    """Does for handlers what they ask of the gateway."""

    async def publish(
        self, audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        """Publish an event to an audience on all gateway pods, through the bus.

        Args:
            data: JSON in UTF-8.
            exclude: id of a connection that must not get the event.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        ...


class ClientContext(msgspec.Struct, frozen=True, eq=False):
    """A client's connection, and ways to publish events.

    Attributes:
        connection: id of the connection.
        user: the client's user; None if it is anonymous.
        pod: name of the gateway pod.
    """

    connection: str
    user: str | None
    pod: str
    _host: Host
    _scope: HasState
    _peer: Peer

    @property
    def state(self) -> Any:  # noqa: ANN401 - the application's own
        """The value of the application's lifespan (`Handlers.lifespan`); None without one."""
        return self._scope.state

    @property
    def data(self) -> dict[str, Any]:
        """A dict for what the application remembers of this connection, until it closes.

        All handlers see the same dict. It is never sent anywhere.
        """
        if self._peer.data is None:
            self._peer.data = {}
        return self._peer.data

    async def publish(self, audience: Audience, type_: str, data: object) -> Published:
        """Publish an event to everyone in an audience, the sender included.

            await context.publish(user("anna"), "mail.new", {"from": context.user})

        Args:
            audience: `clarion.ALL`, `clarion.AUTHENTICATED`, ``clarion.user(...)`` or
                ``clarion.topic(...)``.
            type_: of the event.
            data: anything with a JSON form: plain values, dataclasses, structs, pydantic models.

        Returns:
            The id and the time of the event.

        Raises:
            InvalidType: ``type_`` cannot be an event's type.
            BusUnavailable: Redis does not answer; the sender gets ``unavailable``.
        """
        return await self._host.publish(audience, check_type(type_), encode(data))


class Context(ClientContext, frozen=True, eq=False):
    """The sender of a message, and ways to publish events.

    Attributes:
        type: of the message.
    """

    type: str

    async def propagate(self, audience: Audience, reply: Reply) -> Published:
        """Publish a reply unchanged to everyone in an audience except the sender's connection.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        return await self._host.publish(audience, reply.type, reply.data, exclude=self.connection)


class ConnectContext(ClientContext, frozen=True, eq=False):
    """A client that asks for a connection, before it is welcomed.

    Attributes:
        claims: all claims of the client's token, as its issuer wrote them; empty without a token.
        query: the fields of the client's query, the first value of each; without the token.
        headers: those of the client's headers that the handler asked for, by names in lower case.
    """

    claims: Mapping[str, Any]
    query: Mapping[str, str]
    headers: Mapping[str, str]


class DisconnectContext(ClientContext, frozen=True, eq=False):
    """A connection that has ended.

    Attributes:
        reason: why, in one word, such as ``normal`` or ``draining``: the label in docs/errors.md.
        code: the WebSocket close code with that reason.
    """

    reason: str
    code: int
