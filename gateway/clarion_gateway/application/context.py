"""A handler's view of its client, and the things that it can do for it.

`clarion_gateway.clients` makes a `Context` for each message. Behind it stands a `Host`: the
gateway, or `clarion.testing` in tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Published, check_type
from clarion_contract.events.topic import check_topic
from clarion_contract.texts.piece import check_name
from clarion_contract.texts.writer import TextWriter
from clarion_gateway.application.codec import encode, encode_all, parts_of
from clarion_gateway.application.scope import HasState
from clarion_gateway.wire.parts import Parts


@dataclass(frozen=True, slots=True)
class Reply:
    """The return value of a handler, encoded. It cannot be changed.

    Attributes:
        type: of the message that the reply answers.
        data: JSON in UTF-8, with bytes in base64.
        parts: the same with its bytes, for clients that can take them; None: it has none.
    """

    type: str
    data: bytes
    parts: Parts | None = None


class Peer(Protocol):
    """A connection, as far as the application's side knows it.

    Attributes:
        data: what the application keeps for the connection; None until it keeps something.
    """

    data: dict[str, Any] | None

    @property
    def carries_parts(self) -> bool:
        """Whether its client takes several arguments and bytes as such."""
        ...


class Host(Protocol):
    """Does for handlers what they ask of the gateway."""

    async def send(
        self,
        peer: Any,  # noqa: ANN401 - its own
        type_: str,
        data: bytes,
        parts: Parts | None = None,
    ) -> None:
        """See `ClientContext.send`."""
        ...

    async def ask(
        self,
        peer: Any,  # noqa: ANN401 - its own
        type_: str,
        data: bytes,
        seconds: float,
        parts: Parts | None = None,
    ) -> bytes:
        """See `ClientContext.ask`.

        Returns:
            JSON in UTF-8.
        """
        ...

    async def subscribe(self, peer: Any, topics: Sequence[str]) -> None:  # noqa: ANN401 - its own
        """See `ClientContext.subscribe`."""
        ...

    async def unsubscribe(self, peer: Any, topics: Sequence[str]) -> None:  # noqa: ANN401
        """See `ClientContext.unsubscribe`."""
        ...

    async def publish(
        self,
        audience: Audience,
        type_: str,
        data: bytes,
        *,
        exclude: str | None = None,
        history: bool = True,
    ) -> Published:
        """Publish an event to an audience on all gateway pods, through the bus.

        Args:
            data: JSON in UTF-8.
            exclude: id of a connection that must not get the event.
            history: whether clients that come back later get the event.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        ...

    def text(self, topic: str, type_: str, name: str | None) -> TextWriter:
        """See `ClientContext.stream`."""
        ...

    async def stop_text(self, topic: str, name: str) -> str | None:
        """See `ClientContext.stop_stream`."""
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

    async def publish(
        self, audience: Audience, type_: str, data: object, *, history: bool = True
    ) -> Published:
        """Publish an event to everyone in an audience, the sender included.

            await context.publish(user("anna"), "mail.new", {"from": context.user})

        Args:
            audience: `clarion.ALL`, `clarion.AUTHENTICATED`, ``clarion.user(...)`` or
                ``clarion.topic(...)``.
            type_: of the event.
            data: anything with a JSON form: plain values, dataclasses, structs, pydantic models.
            history: whether clients that come back later get the event. False is for what is soon
                out of date, such as cursors: only clients that are connected now get it.

        Returns:
            The id and the time of the event.

        Raises:
            InvalidType: ``type_`` cannot be an event's type.
            InvalidEvent: the event is not as the catalogue declares it.
            BusUnavailable: Redis does not answer; the sender gets ``unavailable``.
        """
        return await self._host.publish(audience, check_type(type_), encode(data), history=history)

    def stream(self, topic: str, type_: str = "text", *, id: str | None = None) -> TextWriter:  # noqa: A002
        """A text that grows while it is written: an answer, a log. Clients get it piece by piece.

            async with context.stream(f"answer.{question.id}") as out:
                async for token in model(question.text):
                    await out.write(token)

        Clients that come late, or come back, get everything so far in one event, and then the rest.
        An exception in the block ends the text as ``failed``. If somebody stops it (`stop_stream`),
        the block is cancelled and left.

        A handler has `GATEWAY_HANDLER_SECONDS`, and the client's next message waits for it. Write
        longer texts in a task of your own, and keep a reference to it.

        Args:
            topic: the name of a topic that has history.
            type_: of the events. Their data is ``{"stream": id, "seq": 3, "whole": false, "state":
                "writing", "text": "…"}``, see docs/protocol.md.
            id: the text's name, 1 to 64 letters, digits, ``-`` and ``_``. None: a random one.

        Raises:
            InvalidTopic: ``topic`` is no topic's name.
            InvalidType: ``type_`` cannot be an event's type.
            InvalidText: ``id`` cannot be a name, or the topic has no history.
        """
        return self._host.text(check_topic(topic), check_type(type_), id)

    async def stop_stream(self, topic: str, id: str) -> str | None:  # noqa: A002 - as in `stream`
        """Stop a growing text, wherever its producer runs. It is for you to decide who may do so.

            @handlers.on("answer.stop", authenticated_only())
            async def answer_stop(stop: Stop, context: Context) -> None:
                await context.stop_stream(f"answer.{stop.question}", stop.stream)

        Clients are told at once. The producer learns of it with its next event, or in a second.

        Returns:
            The text's state: ``stopped``, or ``done`` or ``failed`` if it had ended before. None:
            there is no such text.

        Raises:
            InvalidTopic: ``topic`` is no topic's name.
            InvalidText: ``id`` cannot be a text's name.
            BusUnavailable: Redis does not answer.
        """
        return await self._host.stop_text(check_topic(topic), check_name(id))

    async def subscribe(self, *topics: str) -> None:
        """Let this connection receive topics, whatever its token says.

            await context.subscribe(f"room.{room.id}")

        When it returns, every event that is published from then on reaches the client. The client
        is told by a ``subscribed``. In a function of `Handlers.on_connect`, the topics stand in
        ``welcome``, and a client that resumes gets what it missed on them. They stay until the
        client or `unsubscribe` gives them up, or until another user logs in on the connection.

        Args:
            topics: names, such as ``room.42``.

        Raises:
            InvalidTopic: a name is no topic's.
            Refusal: ``too_many_topics``: the connection would receive too many.
            BusUnavailable: Redis does not answer; the sender gets ``unavailable``.
        """
        await self._host.subscribe(self._peer, [check_topic(name) for name in topics])

    async def unsubscribe(self, *topics: str) -> None:
        """Let this connection receive topics no more, except those that its token lists.

        The client is told by an ``unsubscribed``.

        Raises:
            InvalidTopic: a name is no topic's.
        """
        await self._host.unsubscribe(self._peer, [check_topic(name) for name in topics])

    async def send(self, type_: str, *data: object) -> None:
        """Send a message to this connection, and to no other.

            await context.send("room.history", history)
            await context.send("photo", {"width": 640}, jpeg)

        It is no event: it has no id, and a client that resumes does not get it again. A client
        that is not welcomed yet gets it behind its ``welcome``. If the connection has ended,
        nothing happens.

        Args:
            type_: of the message.
            data: as for `publish`. Clients of Socket.IO get several as so many arguments, and bytes
                as bytes. Other clients get an array, and bytes in base64.

        Raises:
            InvalidType: ``type_`` cannot be a message's type.
            ValueError: more than 10 values of bytes for a client of Socket.IO.
        """
        await self._host.send(self._peer, check_type(type_), encode_all(data), self._parts(data))

    async def ask(self, type_: str, *data: object, timeout: float = 10) -> Any:  # noqa: ANN401, ASYNC109 - the answer is the client's own, and the limit is passed on
        """Ask this connection's client, and return its answer.

            if not await context.ask("confirm", {"text": "Really?"}, timeout=30):
                raise Refusal("cancelled", "the user said no")

        The time counts toward `GATEWAY_HANDLER_SECONDS`.

        Args:
            type_: of the question.
            data: as for `send`.
            timeout: seconds to wait for the answer.

        Returns:
            The answer's data, as plain values; bytes are base64.

        Raises:
            AskFailed: there is no answer; ``code`` says why.
            InvalidType: ``type_`` cannot be a question's type.
            ValueError: see `send`.
        """
        answer = await self._host.ask(
            self._peer, check_type(type_), encode_all(data), timeout, self._parts(data)
        )
        return msgspec.json.decode(answer)

    def _parts(self, values: Sequence[object]) -> Parts | None:
        return parts_of(values) if self._peer.carries_parts else None


class Context(ClientContext, frozen=True, eq=False):
    """The sender of a message, and ways to publish events.

    Attributes:
        type: of the message.
    """

    type: str

    def reply(self, value: object) -> Reply:
        """The reply to the message, if its handler returns this value."""
        return Reply(self.type, encode(value), self._parts([value]))

    async def propagate(
        self, audience: Audience, reply: Reply, *, history: bool = True
    ) -> Published:
        """Publish a reply unchanged to everyone in an audience except the sender's connection.

        Args:
            history: see `publish`.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        return await self._host.publish(
            audience, reply.type, reply.data, exclude=self.connection, history=history
        )


class ConnectContext(ClientContext, frozen=True, eq=False):
    """A client that asks for a connection, before it is welcomed.

    Attributes:
        claims: all claims of the client's token, as its issuer wrote them; empty without a token.
        auth: what a client of Socket.IO gave as ``auth``, without the token; empty for others. The
            client can write anything there: check it.
        query: the fields of the client's query, the first value of each; without the token.
        headers: those of the client's headers that the handler asked for, by names in lower case.
    """

    claims: Mapping[str, Any]
    auth: Mapping[str, Any]
    query: Mapping[str, str]
    headers: Mapping[str, str]


class SubscribeContext(ClientContext, frozen=True, eq=False):
    """A client that asks for a topic which its token does not grant.

    Attributes:
        topic: the topic's name.
    """

    topic: str


class DisconnectContext(ClientContext, frozen=True, eq=False):
    """A connection that has ended.

    Attributes:
        reason: why, in one word, such as ``normal`` or ``draining``: the label in docs/errors.md.
        code: the WebSocket close code with that reason.
    """

    reason: str
    code: int
