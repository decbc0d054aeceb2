"""Orders on a real Valkey: kept until they end, sent to all subscribers, limited in number."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
import redis.asyncio

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.orders import (
    Disconnect,
    Order,
    Orders,
    RevokeToken,
    RevokeUser,
    decode_order,
    encode_order,
    split_message,
)
from clarion_contract.events.errors import BusUnavailable, OrdersFull
from clarion_contract.redis.keyspace import CONTROL_STREAM, Keyspace
from clarion_contract.redis.subscriber import Message, Subscribed, Subscriber
from tests.e2e.ports import free_port

LIMITS = HistoryLimits(max_events=10, max_age_seconds=60, key_ttl_seconds=60)


def later(seconds: float = 60) -> float:
    return time.time() + seconds


@pytest.fixture
async def bus(redis_url: str, namespace: str) -> AsyncIterator[Bus]:
    bus = Bus(redis_from_url(redis_url), Keyspace(namespace), LIMITS)
    yield bus
    await bus.aclose()


@pytest.fixture
def orders(bus: Bus, namespace: str) -> Orders:
    return Orders(bus, Keyspace(namespace), max_orders=5)


async def kept(orders: Orders) -> list[Order]:
    return [decode_order(text) for text in await orders.read()]


async def test_orders_are_kept_and_told(orders: Orders, redis_url: str, namespace: str) -> None:
    given: list[Order] = [
        RevokeToken("a token's\n id", later()),
        RevokeUser("älice}{", 1_000.25, later(61)),
        Disconnect("x", "bob", "line\nbreak", False, later(62)),
    ]
    subscriber = Subscriber(redis_url, Keyspace(namespace))
    await subscriber.connect()
    await subscriber.subscribe([CONTROL_STREAM])
    assert await subscriber.receive() == Subscribed(CONTROL_STREAM)
    assert await orders.give(given) == 1
    message = await asyncio.wait_for(subscriber.receive(), 5)
    await subscriber.aclose()

    assert isinstance(message, Message)
    assert message.stream == CONTROL_STREAM
    assert [decode_order(text) for text in split_message(message.payload)] == given
    assert await kept(orders) == given


async def test_the_same_order_is_kept_once(orders: Orders) -> None:
    order = RevokeToken("one", later())
    assert await orders.give([order]) == 0
    await orders.give([order])
    assert await kept(orders) == [order]


async def test_the_same_order_again_is_a_write(orders: Orders, redis_url: str) -> None:
    """On a connection without writes, WAIT accepts any replica. PUBLISH counts as a write to
    replicas, but not on a cluster."""

    async def writes() -> int:
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            return int((await client.info("persistence"))["rdb_changes_since_last_save"])

    order = RevokeToken("one", later())
    await orders.give([order])
    before = await writes()
    await orders.give([order])
    assert await writes() > before


async def test_what_has_ended_makes_room(orders: Orders) -> None:
    await orders.give([RevokeToken(str(n), later(-1)) for n in range(5)])
    last = [RevokeToken(str(n), later()) for n in range(5)]
    await orders.give(last)
    assert await kept(orders) == last
    with pytest.raises(OrdersFull):
        await orders.give([RevokeToken("more", later())])
    assert await kept(orders) == last


async def test_thousands_are_given_piece_by_piece(bus: Bus, namespace: str) -> None:
    """A pod gives back the orders that an empty Redis has lost."""
    orders = Orders(bus, Keyspace(namespace), max_orders=10_000)
    many = [RevokeToken(str(n), later(60 + n)) for n in range(2_500)]
    await orders.give(many)
    assert await kept(orders) == many


async def test_a_redis_that_is_away_is_said_to_be(namespace: str) -> None:
    bus = Bus(redis_from_url(f"redis://127.0.0.1:{free_port()}/0"), Keyspace(namespace), LIMITS)
    orders = Orders(bus, Keyspace(namespace), max_orders=5)
    with pytest.raises(BusUnavailable):
        await orders.give([RevokeToken("one", later())])
    with pytest.raises(BusUnavailable):
        await orders.read()
    await bus.aclose()


def test_an_encoded_order_is_one_line() -> None:
    """A message holds several orders, one per line."""
    order = Disconnect("x", "a\nb", "\u2028\r\n", True, 1.5)
    assert split_message(encode_order(order)) == [encode_order(order)]
    assert decode_order(encode_order(order)) == order


@pytest.mark.parametrize("text", [b'{"order":"\x80"}', b"[" * 100_000, b"", b"{}", b"null"])
def test_what_is_no_order_is_one_kind_of_error(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_order(text)
