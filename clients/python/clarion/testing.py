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
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from clarion.recording import Answer, PublishedEvent, Recording
from clarion_contract.events.topic import covers
from clarion_gateway.application.answering import answer
from clarion_gateway.application.codec import encode
from clarion_gateway.application.context import (
    ConnectContext,
    Context,
    DisconnectContext,
    SubscribeContext,
)
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.scope import HasState, living

__all__ = ["Answer", "PublishedEvent", "ask", "connect", "disconnect", "running", "subscribe"]


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
    host, peer = Recording(answers), _Peer(context_data)
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
    host, peer = Recording(), _Peer(context_data)
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
    host, peer = Recording(), _Peer(context_data)
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
    host, peer = Recording(), _Peer(context_data)
    for hook in handlers.disconnects:
        scope = _scope(hook.scope, state)
        context = DisconnectContext(connection, user, "pod-1", host, scope, peer, reason, code)
        await hook.call(context)
    return host.answer()


def _scope(own: HasState, state: object) -> HasState:
    return own if state is None else _State(state)
