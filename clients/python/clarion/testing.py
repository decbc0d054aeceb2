"""Tests an application's handlers without a gateway and without Redis.

from clarion import ALL
from clarion.testing import ask
from shop.live import handlers

async def test_a_bid_reaches_everybody() -> None:
    answer = await ask(handlers, "auction.bid", {"lot": 7, "cents": 100}, user="alice")
    assert answer.data == {"lot": 7, "cents": 100, "bidder": "alice"}
    assert answer.published[0].audience == ALL
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.event import Published
from clarion_contract.events.topic import covers
from clarion_contract.texts.piece import Piece
from clarion_contract.texts.writer import Standing, Step, TextWriter
from clarion_gateway.application.answering import answer
from clarion_gateway.application.codec import encode
from clarion_gateway.application.context import (
    ConnectContext,
    Context,
    DisconnectContext,
    SubscribeContext,
)
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.refusal import AskFailed
from clarion_gateway.application.scope import HasState, living

__all__ = ["Answer", "PublishedEvent", "ask", "connect", "disconnect", "running", "subscribe"]


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event published by a handler, or by an interceptor such as `clarion.propagate`.

    Attributes:
        data: decoded from its JSON.
        exclude: id of the connection that does not receive the event; None: all receive it.
        history: whether clients that come back later get the event.
    """

    audience: Audience
    type: str
    data: Any
    exclude: str | None = None
    history: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a message.

    Attributes:
        data: the reply's data, decoded from its JSON.
        published: the published events, in order.
        sent: type and data of each ``context.send``, in order.
        asked: type and data of each ``context.ask``, in order.
        subscribed: the topics of each ``context.subscribe``, in order.
        unsubscribed: the topics of each ``context.unsubscribe``, in order.
        stopped: the names of the texts of each ``context.stop_stream``, in order.
    """

    data: Any
    published: Sequence[PublishedEvent]
    sent: Sequence[tuple[str, Any]] = ()
    asked: Sequence[tuple[str, Any]] = ()
    subscribed: Sequence[str] = ()
    unsubscribed: Sequence[str] = ()
    stopped: Sequence[str] = ()


@contextlib.asynccontextmanager
async def running(handlers: Handlers) -> AsyncIterator[Any]:
    """Run the lifespans of handlers around tests, as a gateway does around its clients.

        async with running(handlers) as state:
            await ask(handlers, "auction.bid", {"lot": 7, "cents": 100}, user="alice")

    Yields:
        The value of the handlers' own lifespan, which they see as ``context.state``.

    Raises:
        Exception: a lifespan failed; the text names it.
    """
    failures: list[str] = []
    async with living(handlers.scopes, failed_to_end=failures.append):
        yield handlers.scopes[0].state
    if failures:
        raise RuntimeError("; ".join(failures))


@dataclass(slots=True)
class _Peer:
    """The connection of a test's client."""

    data: dict[str, Any] | None
    carries_parts: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    """A test's own value of ``context.state``."""

    state: object
    lives: bool = True


class _Recording:
    """A host that publishes and sends to lists, and answers questions from a mapping."""

    def __init__(self, answers: Mapping[str, object] | None = None) -> None:
        self.published: list[PublishedEvent] = []
        self.sent: list[tuple[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.subscribed: list[str] = []
        self.unsubscribed: list[str] = []
        self.stopped: list[str] = []
        self._answers = answers or {}

    def answer(self, data: Any = None) -> Answer:  # noqa: ANN401
        return Answer(
            data,
            self.published,
            self.sent,
            self.asked,
            self.subscribed,
            self.unsubscribed,
            self.stopped,
        )

    async def subscribe(self, peer: object, topics: Sequence[str]) -> None:  # noqa: ARG002
        self.subscribed += topics

    async def unsubscribe(self, peer: object, topics: Sequence[str]) -> None:  # noqa: ARG002
        self.unsubscribed += topics

    async def send(
        self,
        peer: object,  # noqa: ARG002
        type_: str,
        data: bytes,
        parts: object = None,  # noqa: ARG002
    ) -> None:
        self.sent.append((type_, msgspec.json.decode(data)))

    async def ask(
        self,
        peer: object,  # noqa: ARG002
        type_: str,
        data: bytes,
        seconds: float,
        parts: object = None,  # noqa: ARG002
    ) -> bytes:
        self.asked.append((type_, msgspec.json.decode(data)))
        if type_ not in self._answers:
            raise AskFailed("ask_timeout", f"no answer within {seconds:g} seconds")
        return encode(self._answers[type_])

    def text(self, topic: str, type_: str, name: str | None) -> TextWriter:
        name = secrets.token_urlsafe(12) if name is None else name

        async def carry(step: Step) -> Standing:
            if name in self.stopped:
                return Standing("stopped")
            if step.seq:
                piece = Piece(name, step.seq, step.seq == 1, step.state, "", step.reason)
                text = msgspec.json.decode(b'"%b"' % step.piece, type=str)
                data = msgspec.to_builtins(msgspec.structs.replace(piece, text=text))
                self.published.append(PublishedEvent(topic_audience(topic), type_, data))
            return Standing(step.state, step.reason)

        return TextWriter(carry, name)

    async def stop_text(self, topic: str, name: str) -> str | None:  # noqa: ARG002
        self.stopped.append(name)
        return "stopped"

    async def publish(
        self,
        audience: Audience,
        type_: str,
        data: bytes,
        *,
        exclude: str | None = None,
        history: bool = True,
    ) -> Published:
        self.published.append(
            PublishedEvent(audience, type_, msgspec.json.decode(data), exclude, history)
        )
        return Published(id=len(self.published), duplicate=False, gateways=1)


async def ask(
    handlers: Handlers,
    type_: str,
    data: object = None,
    *,
    user: str | None = None,
    connection: str = "connection-1",
    pod: str = "pod-1",
    state: object = None,
    context_data: dict[str, Any] | None = None,
    answers: Mapping[str, object] | None = None,
) -> Answer:
    """Run the handler of a message type as a gateway does: decode data, run interceptors, reply.

    There is no time limit: ``GATEWAY_HANDLER_SECONDS`` applies only in a gateway.

    Args:
        data: the client's data, as any value that can be written as JSON.
        user: the sender; None: an anonymous client.
        connection: id of the sender's connection.
        pod: name of the gateway.
        state: stands in for the value of the lifespan, ``context.state``. None: the value that
            `running` opened, if it did.
        context_data: ``context.data``; the same dict may go from one call to the next.
        answers: the client's answers to ``context.ask``, by type; it does not answer others.

    Raises:
        LookupError: the type has no handler; a gateway would answer ``unknown_type``.
        Refusal: the handler or an interceptor refused, or the data do not fit (``invalid``).
        Exception: an exception of the handler; a gateway would answer ``internal``.
    """
    route = handlers.find(type_)
    if route is None:
        known = ", ".join(sorted(handlers.types)) or "none"
        raise LookupError(f"expected a type that has a handler ({known}), got {type_!r}")
    host, peer = _Recording(answers), _Peer(context_data)
    scope = _scope(route.scope, state)
    context = Context(connection, user, pod, host, scope, peer, type_)
    reply = await answer(route, encode(data), context)
    return host.answer(msgspec.json.decode(reply.data))


async def connect(
    handlers: Handlers,
    *,
    user: str | None = None,
    connection: str = "connection-1",
    claims: Mapping[str, Any] | None = None,
    auth: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    state: object = None,
    context_data: dict[str, Any] | None = None,
) -> Answer:
    """Run what `Handlers.on_connect` registered, as a gateway does before it welcomes a client.

    Args:
        user: of the client; None: an anonymous client.
        connection: id of the client's connection.
        claims: of the client's token; None: only ``sub``, if there is a user.
        auth: of a client of Socket.IO, without the token.
        query: the fields of the client's query.
        headers: of the client. A function sees only those that it asked for.
        state: see `ask`.
        context_data: see `ask`.

    Returns:
        What was published and sent; without ``data``.

    Raises:
        Refusal: a function refused the client.
        Exception: an exception of a function; a gateway would close with 1011.
    """
    host, peer = _Recording(), _Peer(context_data)
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    if claims is None:
        claims = {} if user is None else {"sub": user}
    for hook in handlers.connects:
        seen = {name: value for name, value in sent.items() if name in hook.headers}
        scope = _scope(hook.scope, state)
        context = ConnectContext(
            connection, user, "pod-1", host, scope, peer, claims, auth or {}, query or {}, seen
        )
        await hook.call(context)
    return host.answer()


async def subscribe(
    handlers: Handlers,
    topic: str,
    *,
    user: str | None = None,
    connection: str = "connection-1",
    state: object = None,
    context_data: dict[str, Any] | None = None,
) -> Answer:
    """Ask what `Handlers.on_subscribe` registered, as a gateway does for a topic.

    Args:
        topic: that a client asks for and its token does not grant.
        user: of the client; None: an anonymous client.
        connection: id of the client's connection.
        state: see `ask`.
        context_data: see `ask`.

    Returns:
        Whether the client receives the topic, as ``data``.

    Raises:
        Refusal: the function refused the topic.
        Exception: an exception of the function; a gateway would refuse the topic.
    """
    host, peer = _Recording(), _Peer(context_data)
    hook = next((hook for hook in handlers.subscribes if covers(hook.pattern, topic)), None)
    if hook is None:
        return host.answer(data=False)
    scope = _scope(hook.scope, state)
    context = SubscribeContext(connection, user, "pod-1", host, scope, peer, topic)
    granted = await hook.call(context)
    return host.answer(granted is None or granted is True)


async def disconnect(
    handlers: Handlers,
    *,
    user: str | None = None,
    connection: str = "connection-1",
    reason: str = "normal",
    code: int = 1000,
    state: object = None,
    context_data: dict[str, Any] | None = None,
) -> Answer:
    """Run what `Handlers.on_disconnect` registered, as a gateway does after a connection's end.

    Args:
        user: of the client; None: an anonymous client.
        connection: id of the client's connection.
        reason: ``context.reason``.
        code: ``context.code``.
        state: see `ask`.
        context_data: see `ask`.

    Returns:
        What was published and sent; without ``data``.

    Raises:
        Exception: an exception of a function; a gateway would log it and run the next one.
    """
    host, peer = _Recording(), _Peer(context_data)
    for hook in handlers.disconnects:
        scope = _scope(hook.scope, state)
        context = DisconnectContext(connection, user, "pod-1", host, scope, peer, reason, code)
        await hook.call(context)
    return host.answer()


def _scope(own: HasState, state: object) -> HasState:
    return own if state is None else _State(state)
