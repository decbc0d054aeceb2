"""`clarion_gateway.application.answering`: a handler runs once, inside its interceptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clarion_gateway.application.answering import Proceed, answer
from clarion_gateway.application.context import Context, Reply
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.refusal import Refusal
from tests.gateway.application.host import context


async def ask(handler: Callable[..., Any], data: bytes = b"null", *interceptors: Any) -> bytes:
    handlers = Handlers()
    handlers.on("a", *interceptors)(handler)
    route = handlers.find("a")
    assert route is not None
    reply = await answer(route, data, context())
    assert reply.type == "a"
    return reply.data


async def takes_int(message: int, context: Context) -> Any:
    return message


async def test_an_interceptor_runs_the_handler_inside_itself() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        async def interceptor(context: Context, proceed: Proceed) -> None:
            order.append(f"{name} before")
            reply = await proceed()
            order.append(f"{name} after {reply.data.decode()}")

        return interceptor

    async def handler(message: int, context: Context) -> int:
        order.append("handler")
        return message

    assert await ask(handler, b"1", named("outer"), named("inner")) == b"1"
    assert order == ["outer before", "inner before", "handler", "inner after 1", "outer after 1"]


async def test_an_interceptor_cannot_alter_the_reply() -> None:
    async def interceptor(context: Context, proceed: Proceed) -> None:
        reply = await proceed()
        with pytest.raises(AttributeError):
            reply.data = b"altered"  # type: ignore[misc]

    assert await ask(takes_int, b"1", interceptor) == b"1"


async def test_an_interceptor_refuses_before_the_handler_runs() -> None:
    ran: list[int] = []

    async def interceptor(context: Context, proceed: Proceed) -> None:
        raise Refusal("forbidden", "not you")

    async def handler(message: int, context: Context) -> None:
        ran.append(message)

    with pytest.raises(Refusal, match="not you"):
        await ask(handler, b"1", interceptor)
    assert ran == []


async def test_a_handler_runs_once_whatever_its_interceptors_do() -> None:
    """An interceptor that proceeds twice runs it once. One that never proceeds is a bug."""
    ran: list[int] = []

    async def twice(context: Context, proceed: Proceed) -> None:
        assert await proceed() == await proceed()

    async def never(context: Context, proceed: Proceed) -> None:
        pass

    async def handler(message: int, context: Context) -> int:
        ran.append(message)
        return message

    assert await ask(handler, b"1", twice) == b"1"
    with pytest.raises(RuntimeError, match="proceed"):
        await ask(handler, b"2", never)
    assert ran == [1]


async def test_a_failure_that_an_interceptor_swallows_stays_a_failure() -> None:
    """The handler must not run a second time after a failure: it may have charged a card."""
    ran: list[int] = []

    async def swallows(context: Context, proceed: Proceed) -> None:
        try:
            await proceed()
        except ZeroDivisionError:
            pass

    async def handler(message: int, context: Context) -> float:
        ran.append(message)
        return message / 0

    with pytest.raises(ZeroDivisionError):
        await ask(handler, b"1", swallows)
    assert ran == [1]


def test_a_reply_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Reply("a", b"1").data = b"2"  # type: ignore[misc]
