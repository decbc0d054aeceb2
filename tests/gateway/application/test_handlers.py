"""`clarion_gateway.application.handlers`: a handler's arguments and its reply."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field

from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event, Published
from clarion_gateway.application.handlers import (
    Context,
    Handlers,
    Proceed,
    Refusal,
    Reply,
    answer,
    encode,
)


class Chat(BaseModel):
    text: str = Field(min_length=1)
    room: int = 0


class Struct(msgspec.Struct):
    text: str


@dataclass
class Plain:
    text: str


class Typed(TypedDict):
    text: str


class Mood(Enum):
    GOOD = "good"


class Outbox:
    """Records what is published, in order."""

    def __init__(self) -> None:
        self.published: list[tuple[Audience, str, bytes, str | None]] = []

    async def __call__(
        self, audience: Audience, type_: str, data: bytes, *, exclude: str | None = None
    ) -> Published:
        self.published.append((audience, type_, data, exclude))
        return Published(len(self.published), duplicate=False, gateways=1)


def context(outbox: Outbox | None = None, user: str | None = "alice") -> Context:
    return Context("connection-1", user, "pod-test", "a", outbox or Outbox())


async def ask(handler: Callable[..., Any], data: bytes = b"null", *interceptors: Any) -> bytes:
    handlers = Handlers()
    handlers.on("a", *interceptors)(handler)
    route = handlers.find("a")
    assert route is not None
    reply = await answer(route, data, context())
    assert reply.type == "a"
    return reply.data


async def takes_model(message: Chat, context: Context) -> Any:
    return message


async def takes_struct(message: Struct, context: Context) -> Any:
    return message


async def takes_dataclass(message: Plain, context: Context) -> Any:
    return message


async def takes_typed_dict(message: Typed, context: Context) -> Any:
    return message


async def takes_bytes(message: bytes, context: Context) -> Any:
    assert isinstance(message, bytes)
    return message.decode()


async def takes_int(message: int, context: Context) -> Any:
    return message


async def takes_anything(message, context):
    return message


@pytest.mark.parametrize(
    ("handler", "data", "expected"),
    [
        (takes_model, b'{"text":"hi"}', b'{"text":"hi","room":0}'),
        (takes_struct, b'{"text":"hi"}', b'{"text":"hi"}'),
        (takes_dataclass, b'{"text":"hi"}', b'{"text":"hi"}'),
        (takes_typed_dict, b'{"text":"hi"}', b'{"text":"hi"}'),
        (takes_bytes, b'{"a": [1, 2]}', b'"{\\"a\\": [1, 2]}"'),
        (takes_int, b"7", b"7"),
        (takes_anything, b'{"a":[1,null]}', b'{"a":[1,null]}'),
    ],
)
async def test_the_annotation_decides_what_a_handler_gets(
    handler: Callable[..., Any], data: bytes, expected: bytes
) -> None:
    assert await ask(handler, data) == expected


@pytest.mark.parametrize(
    ("handler", "data", "where"),
    [
        (takes_model, b'{"text":""}', "data.text: "),
        (takes_model, b'{"text":"hi","room":"x"}', "data.room: "),
        (takes_model, b"null", "data: "),
        (takes_struct, b"{}", "text"),
        (takes_struct, b"[1]", "data: "),
        (takes_int, b'"7"', "data: "),
    ],
)
async def test_data_that_do_not_fit_are_refused_with_the_field(
    handler: Callable[..., Any], data: bytes, where: str
) -> None:
    with pytest.raises(Refusal) as refused:
        await ask(handler, data)
    assert refused.value.code == "invalid"
    assert where in refused.value.message


@pytest.mark.parametrize("depth", [500, 20_000])
@pytest.mark.parametrize("handler", [takes_model, takes_struct, takes_anything])
async def test_deeply_nested_data_are_refused_or_taken_but_crash_nothing(
    handler: Callable[..., Any], depth: int
) -> None:
    data = b"[" * depth + b"]" * depth
    try:
        await ask(handler, data)
    except Refusal as refusal:
        assert refusal.code == "invalid"
    except RecursionError:
        pytest.fail("deep nesting is the client's fault, not a bug")


async def test_a_plain_function_runs_in_a_thread() -> None:
    threads: list[int] = []

    def handler(message: int, context: Context) -> int:
        threads.append(threading.get_ident())
        return message + 1

    assert await ask(handler, b"1") == b"2"
    assert threads != [threading.get_ident()]


async def test_no_more_threads_than_allowed_run_at_once() -> None:
    handlers = Handlers()
    running, most = 0, 0
    gate = threading.Event()
    lock = threading.Lock()

    @handlers.on("a")
    def handler(message: Any, context: Context) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 2:
                gate.set()
        gate.wait(5)
        with lock:
            running -= 1

    handlers.limit_threads(2)
    route = handlers.find("a")
    assert route is not None
    await asyncio.gather(*(answer(route, b"null", context()) for _ in range(8)))
    assert most == 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"null"),
        ({"a": [1, 2.5, "x", True]}, b'{"a":[1,2.5,"x",true]}'),
        (Chat(text="ü"), '{"text":"ü","room":0}'.encode()),
        ([Chat(text="x")], b'[{"text":"x","room":0}]'),
        (Struct("x"), b'{"text":"x"}'),
        (Plain("x"), b'{"text":"x"}'),
        (datetime(2026, 1, 2, tzinfo=UTC), b'"2026-01-02T00:00:00Z"'),
        (Mood.GOOD, b'"good"'),
        (float("nan"), b"null"),
    ],
)
def test_what_a_handler_may_return(value: object, expected: bytes) -> None:
    assert encode(value) == expected


@pytest.mark.parametrize("value", [object(), {"a": {1j}}, lambda: None, [Path()]])
def test_what_has_no_json_form_is_an_error_not_nonsense(value: object) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        encode(value)


def test_a_type_has_one_handler() -> None:
    handlers = Handlers()
    handlers.on("a")(takes_int)
    with pytest.raises(ValueError, match="expected one handler for 'a'"):
        handlers.on("a")(takes_anything)
    assert handlers.types == ("a",)
    assert handlers.find("b") is None


@pytest.mark.parametrize("handler", [lambda: None, lambda message: None, lambda a, b, c: None])
def test_a_handler_takes_message_and_context(handler: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a handler of \(message, context\)"):
        Handlers().on("a")(handler)


def test_the_decorated_function_stays_what_it_was() -> None:
    """The application can test it alone."""

    def handler(message: int, context: Context) -> int:
        return message

    assert Handlers().on("a")(handler) is handler


async def test_a_handlers_own_event_goes_to_everyone() -> None:
    outbox = Outbox()
    await context(outbox).publish(ALL, "news", {"a": 1})
    assert outbox.published == [(ALL, "news", b'{"a":1}', None)]


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


def test_events_are_frozen_too() -> None:
    with pytest.raises(AttributeError):
        Event(1, 0, ALL, "a", b"1").data = b"2"  # type: ignore[misc]
