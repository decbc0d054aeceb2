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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Published
from clarion_gateway.application.handlers import Context, Handlers, answer, encode

__all__ = ["Answer", "PublishedEvent", "ask"]


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


async def ask(
    handlers: Handlers,
    type_: str,
    data: object = None,
    *,
    user: str | None = None,
    connection: str = "connection-1",
    pod: str = "pod-1",
) -> Answer:
    """Run the handler of a message type as a gateway does: decode data, run interceptors, reply.

    There is no time limit: ``GATEWAY_HANDLER_SECONDS`` applies only in a gateway.

    Args:
        data: the client's data, as any value that can be written as JSON.
        user: the sender; None: an anonymous client.
        connection: id of the sender's connection.
        pod: name of the gateway.

    Raises:
        LookupError: the type has no handler; a gateway would answer ``unknown_type``.
        Refusal: the handler or an interceptor refused, or the data do not fit (``invalid``).
        Exception: an exception of the handler; a gateway would answer ``internal``.
    """
    route = handlers.find(type_)
    if route is None:
        known = ", ".join(sorted(handlers.types)) or "none"
        raise LookupError(f"expected a type that has a handler ({known}), got {type_!r}")
    published: list[PublishedEvent] = []

    async def publish(
        audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        published.append(PublishedEvent(audience, type_, msgspec.json.decode(data), exclude))
        return Published(id=len(published), duplicate=False, gateways=1)

    reply = await answer(route, encode(data), Context(connection, user, pod, type_, publish))
    return Answer(msgspec.json.decode(reply.data), published)
