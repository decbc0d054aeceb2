"""Reading bodies within limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from clarion_contract.identity.claims import Claims
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.exchange import Bodies, Disconnected, read_headers
from clarion_publisher.sources.http.problems import HttpRefusal

ORDERS = Claims("orders", frozenset({"publish:all"}), 0.0)
JSON = {b"content-type": b"application/json"}

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def receiving(*chunks: bytes, then: str = "http.request") -> Receive:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": then, "body": b"", "more_body": False})

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    return receive


async def test_chunks_are_joined() -> None:
    bodies = Bodies(max_bytes=10, total_max_bytes=10)
    with bodies.hold(ORDERS) as body:
        assert await body.read(JSON, receiving(b"abc", b"", b"def")) == b"abcdef"
        assert bodies.held_bytes == 6
    assert bodies.held_bytes == 0


async def test_no_chunk_is_taken_beyond_the_limit() -> None:
    bodies = Bodies(max_bytes=5, total_max_bytes=10)
    receive = receiving(b"abc", b"def", b"never")
    with bodies.hold(ORDERS) as body, pytest.raises(HttpRefusal) as caught:
        await body.read(JSON, receive)
    assert caught.value.row is problems.BODY_TOO_LARGE
    assert (await receive())["body"] == b"never"
    assert bodies.held_bytes == 0


async def test_a_declared_length_is_refused_before_anything_is_read() -> None:
    bodies = Bodies(max_bytes=10, total_max_bytes=15)
    with bodies.hold(ORDERS) as body, pytest.raises(HttpRefusal) as caught:
        await body.read({**JSON, b"content-length": b"11"}, receiving(b"never"))
    assert caught.value.row is problems.BODY_TOO_LARGE
    assert bodies.held_bytes == 0


async def test_what_is_only_declared_holds_nothing() -> None:
    """Otherwise one caller could cheaply lock out all others."""
    bodies = Bodies(max_bytes=10, total_max_bytes=15)
    declared = {**JSON, b"content-length": b"10"}
    with bodies.hold(ORDERS) as first, bodies.hold(ORDERS) as second:
        with pytest.raises(Disconnected):
            await first.read(declared, receiving(b"x", then="http.disconnect"))
        assert bodies.held_bytes == 1
        assert await second.read(declared, receiving(b"x" * 9)) == b"x" * 9


async def test_memory_of_chunked_bodies_counts_too() -> None:
    bodies = Bodies(max_bytes=10, total_max_bytes=10)
    with bodies.hold(ORDERS) as first, bodies.hold(ORDERS) as second:
        await first.read(JSON, receiving(b"x" * 6))
        with pytest.raises(HttpRefusal) as caught:
            await second.read(JSON, receiving(b"x" * 3, b"x" * 3))
    assert caught.value.row is problems.OVERLOADED
    assert bodies.held_bytes == 0


async def test_a_client_that_leaves() -> None:
    bodies = Bodies(max_bytes=10, total_max_bytes=10)
    with bodies.hold(ORDERS) as body, pytest.raises(Disconnected):
        await body.read(JSON, receiving(b"abc", then="http.disconnect"))
    assert bodies.held_bytes == 0


@pytest.mark.parametrize(
    "name", [b"authorization", b"content-type", b"content-encoding", b"idempotency-key"]
)
def test_headers_that_must_be_single(name: bytes) -> None:
    with pytest.raises(HttpRefusal, match=name.decode()):
        read_headers({"headers": [(name, b"a"), (name, b"a")]})


def test_other_headers_may_repeat() -> None:
    assert read_headers({"headers": [(b"x", b"1"), (b"x", b"2")]}) == {b"x": b"2"}
