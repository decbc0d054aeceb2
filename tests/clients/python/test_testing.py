"""`clarion.testing`: without a gateway, a handler answers as it does behind one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from clarion import ALL, Context, Handlers, Refusal, authenticated_only, propagate, topic, user
from clarion.testing import PublishedEvent, ask

handlers = Handlers()


class Bid(BaseModel):
    cents: int


@handlers.on("bid", authenticated_only(), propagate(to="all"))
async def bid(message: Bid, context: Context) -> dict[str, Any]:
    await context.publish(user("bob"), "outbid", message)
    await context.publish(topic("lot.7"), "price", message.cents)
    return {"cents": message.cents, "bidder": context.user, "pod": context.pod}


@handlers.on("fails")
def fails(message: Any, context: Context) -> None:
    raise ZeroDivisionError(context.connection)


async def test_the_answer_holds_the_reply_and_all_that_was_published() -> None:
    answer = await ask(handlers, "bid", Bid(cents=3), user="alice", connection="c", pod="p")
    assert answer.data == {"cents": 3, "bidder": "alice", "pod": "p"}
    assert answer.published == [
        PublishedEvent(user("bob"), "outbid", {"cents": 3}),
        PublishedEvent(topic("lot.7"), "price", 3),
        PublishedEvent(ALL, "bid", answer.data, exclude="c"),
    ]


@pytest.mark.parametrize(
    ("data", "sender", "code"),
    [({"cents": "x"}, "alice", "invalid"), ({"cents": 3}, None, "unauthenticated")],
)
async def test_a_refusal_reaches_the_test(data: object, sender: str | None, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        await ask(handlers, "bid", data, user=sender)
    assert refused.value.code == code


async def test_a_handlers_own_exception_reaches_the_test() -> None:
    with pytest.raises(ZeroDivisionError, match="connection-1"):
        await ask(handlers, "fails")


async def test_a_type_without_a_handler_is_named_with_those_that_have_one() -> None:
    with pytest.raises(LookupError, match=r"\(bid, fails\), got 'sell'"):
        await ask(handlers, "sell")
