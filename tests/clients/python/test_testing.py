"""`clarion.testing`: without a gateway, a handler answers as it does behind one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from clarion import (
    ALL,
    AskFailed,
    ConnectContext,
    Context,
    DisconnectContext,
    Handlers,
    Refusal,
    SubscribeContext,
    authenticated_only,
    propagate,
    topic,
    user,
)
from clarion.testing import PublishedEvent, ask, connect, disconnect, running, subscribe

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


living = Handlers()


@living.lifespan
async def pool() -> Any:
    yield "pool"


@living.on_connect(headers=["x-tenant"])
async def connected(context: ConnectContext) -> None:
    if context.claims.get("plan") != "pro":
        raise Refusal("no_plan", "expected the plan pro")
    context.data["tenant"] = context.headers.get("x-tenant")
    await context.send("greeting", [context.query, dict(context.headers)])


@living.on_disconnect
async def gone(context: DisconnectContext) -> None:
    await context.publish(ALL, "left", [context.user, context.reason, context.code])


@living.on("order")
async def order(message: str, context: Context) -> Any:
    await context.send("begun", message)
    return [context.state, context.data.get("tenant"), await context.ask("sure", message)]


async def test_a_client_is_let_in_or_refused() -> None:
    data: dict[str, Any] = {}
    answer = await connect(
        living,
        user="alice",
        claims={"plan": "pro"},
        query={"page": "home"},
        headers={"X-Tenant": "shop", "Cookie": "secret"},
        context_data=data,
    )
    assert (answer.data, answer.published) == (None, [])
    assert answer.sent == [("greeting", [{"page": "home"}, {"x-tenant": "shop"}])]
    assert data == {"tenant": "shop"}
    with pytest.raises(Refusal, match="plan pro"):
        await connect(living, user="alice")


async def test_an_end_is_told() -> None:
    answer = await disconnect(living, user="alice", reason="draining", code=1012)
    assert answer.published == [PublishedEvent(ALL, "left", ["alice", "draining", 1012])]


async def test_the_state_is_that_of_the_lifespan_or_the_tests_own() -> None:
    answers = {"sure": True}
    async with running(living) as state:
        assert state == "pool"
        answer = await ask(living, "order", "tea", answers=answers)
    assert answer.data == ["pool", None, True]
    assert (answer.sent, answer.asked) == ([("begun", "tea")], [("sure", "tea")])
    own = await ask(
        living, "order", "tea", state="own", context_data={"tenant": "shop"}, answers=answers
    )
    assert own.data == ["own", "shop", True]


async def test_a_question_without_an_answer_times_out() -> None:
    with pytest.raises(AskFailed) as failed:
        await ask(living, "order", "tea")
    assert failed.value.code == "ask_timeout"


async def test_a_lifespan_that_fails_at_its_end_fails_the_test() -> None:
    failing = Handlers()

    @failing.lifespan
    async def broken() -> Any:
        yield
        raise OSError("still in use")

    with pytest.raises(RuntimeError, match="broken failed at its end: OSError: still in use"):
        async with running(failing):
            pass


deciding = Handlers()


@deciding.on_subscribe("room.*")
async def enter(context: SubscribeContext) -> bool:
    if context.topic == "room.full":
        raise Refusal("full", "the room is full")
    await context.subscribe("lobby")
    return context.user == context.state


async def test_what_decides_about_topics_is_asked_without_a_gateway() -> None:
    answer = await subscribe(deciding, "room.1", user="alice", state="alice")
    assert (answer.data, answer.subscribed) == (True, ["lobby"])
    assert (await subscribe(deciding, "room.1", user="bob", state="alice")).data is False
    assert (await subscribe(deciding, "elsewhere", user="alice", state="alice")).data is False
    with pytest.raises(Refusal):
        await subscribe(deciding, "room.full")
