"""`clarion_gateway.application.codec`: what a handler gets and what it may return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field

from clarion_gateway.application.codec import decoder_of, encode, parts_of
from clarion_gateway.application.context import Context
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.wire.parts import ATTACHMENTS_MAX
from tests.gateway.application.host import context


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


async def ask(handler: Callable[..., Any], data: bytes) -> bytes:
    return encode(await handler(decoder_of(handler)(data), context()))


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


@pytest.mark.parametrize("handler", [lambda: None, lambda message: None, lambda a, b, c: None])
def test_a_handler_takes_message_and_context(handler: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"expected a handler of \(message, context\)"):
        decoder_of(handler)


@dataclass
class Picture:
    name: str
    at: datetime | None
    bits: bytes


class Album(msgspec.Struct):
    pictures: list[Picture]


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "json", "attachments"),
    [
        (b"a", '{"_placeholder":true,"num":0}', [b"a"]),
        (bytearray(b"a"), '{"_placeholder":true,"num":0}', [b"a"]),
        (memoryview(b"a"), '{"_placeholder":true,"num":0}', [b"a"]),
        (
            {"b": (1, b"x", [b"", None])},
            '{"b":[1,{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1},null]]}',
            [b"x", b""],
        ),
        (
            Album([Picture("a", None, b"x")]),
            '{"pictures":[{"name":"a","at":null,"bits":{"_placeholder":true,"num":0}}]}',
            [b"x"],
        ),
    ],
)
def test_bytes_leave_placeholders(value: object, json: str, attachments: list[bytes]) -> None:
    parts = parts_of([value])
    assert parts is not None
    assert parts.arguments.decode() == json
    assert list(parts.attachments) == attachments


@pytest.mark.parametrize(
    "value",
    [None, 1, "a", {"a": [1.5, NOON]}, Chat(text="a"), Struct("a"), Mood.GOOD, msgspec.Raw(b"{}")],
)
def test_a_single_value_without_bytes_needs_no_parts(value: object) -> None:
    assert parts_of([value]) is None
    parts = parts_of([value, 1])
    assert parts is not None
    assert parts.arguments == encode(value) + b",1"
    assert not parts.attachments


def test_values_without_bytes_are_not_copied() -> None:
    class Whole(dict[str, object]):
        def items(self) -> NoReturn:
            raise AssertionError("copied")

    assert parts_of([{"a": [Whole(b=1)]}]) is None
    parts = parts_of([[Whole(b=1)], 1])
    assert parts is not None
    assert parts.arguments == b'[{"b":1}],1'


def test_there_are_as_many_attachments_as_clients_take() -> None:
    parts = parts_of([[b"a"] * ATTACHMENTS_MAX])
    assert parts is not None
    assert len(parts.attachments) == ATTACHMENTS_MAX
    with pytest.raises(ValueError, match="at most 10 values of bytes in one message, got 11"):
        parts_of([[b"a"] * (ATTACHMENTS_MAX + 1)])
