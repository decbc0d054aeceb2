"""Tests of an application's handlers, without a gateway and without Redis.

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
    """An event that a handler published, or an interceptor such as `clarion.propagate`.

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
    """What came of a message.

    Attributes:
        data: the reply's, decoded from its JSON.
        published: in the order in which they were published.
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
    """Run the handler of a message type as a gateway does: decoded data, interceptors, reply.

    The handler may take as long as it likes: ``GATEWAY_HANDLER_SECONDS`` is the gateway's.

    Args:
        data: what the client sends, as anything that has JSON.
        user: the sender; None: an anonymous one.
        connection: id of the sender's connection.
        pod: name of the gateway.

    Raises:
        LookupError: there is no handler for the type; a gateway answers ``unknown_type``.
        Refusal: the handler or an interceptor refuses, or the data do not fit (``invalid``).
        Exception: what the handler raises; a gateway answers ``internal``.
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
