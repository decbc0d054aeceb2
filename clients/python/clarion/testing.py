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
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Published
from clarion_gateway.application.answering import answer
from clarion_gateway.application.codec import encode
from clarion_gateway.application.context import Context
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.scope import living

__all__ = ["Answer", "PublishedEvent", "ask", "running"]


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event published by a handler, or by an interceptor such as `clarion.propagate`.

    Attributes:
        data: decoded from its JSON.
        exclude: id of the connection that does not receive the event; None: all receive it.
    """

    audience: Audience
    type: str
    data: Any
    exclude: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a message.

    Attributes:
        data: the reply's data, decoded from its JSON.
        published: the published events, in order.
    """

    data: Any
    published: Sequence[PublishedEvent]


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


@dataclass(frozen=True, slots=True)
class _State:
    """A test's own value of ``context.state``."""

    state: object
    lives: bool = True


class _Recording:
    """A host that publishes to a list."""

    def __init__(self) -> None:
        self.published: list[PublishedEvent] = []

    async def publish(
        self, audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        self.published.append(PublishedEvent(audience, type_, msgspec.json.decode(data), exclude))
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

    Raises:
        LookupError: the type has no handler; a gateway would answer ``unknown_type``.
        Refusal: the handler or an interceptor refused, or the data do not fit (``invalid``).
        Exception: an exception of the handler; a gateway would answer ``internal``.
    """
    route = handlers.find(type_)
    if route is None:
        known = ", ".join(sorted(handlers.types)) or "none"
        raise LookupError(f"expected a type that has a handler ({known}), got {type_!r}")
    host, scope = _Recording(), route.scope
    if state is not None:
        scope = _State(state)
    peer = _Peer(context_data)
    context = Context(connection, user, pod, host, scope, peer, type_)
    reply = await answer(route, encode(data), context)
    return Answer(msgspec.json.decode(reply.data), host.published)
