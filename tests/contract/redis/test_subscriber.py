"""The receiving end, on a real Valkey: confirmations, messages in order, and a lost connection."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import ALL, Audience, user_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Publication, parse_message
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.subscriber import Message, Subscribed, Subscriber
from tests.valkey import Valkey

LIMITS = HistoryLimits(1_000, 60, 60)


@pytest.fixture
async def bus(redis_url: str, namespace: str) -> AsyncIterator[Bus]:
    bus = Bus(redis_from_url(redis_url), Keyspace(namespace), LIMITS)
    yield bus
    await bus.aclose()


@pytest.fixture
async def subscriber(redis_url: str, namespace: str) -> AsyncIterator[Subscriber]:
    subscriber = Subscriber(redis_url, Keyspace(namespace))
    await subscriber.connect()
    yield subscriber
    await subscriber.aclose()


def event(audience: Audience = ALL, data: bytes = b"1") -> Publication:
    return Publication(audience, "t", data)


async def next_message(subscriber: Subscriber) -> Message:
    received = await subscriber.receive()
    assert isinstance(received, Message)
    return received


async def test_a_confirmation_comes_before_every_message(bus: Bus, subscriber: Subscriber) -> None:
    await bus.publish([event(data=b"before")])
    await subscriber.subscribe(["all"])
    assert await subscriber.receive() == Subscribed("all")
    await bus.publish([event(data=b"\x00\r\n{}")])
    message = await next_message(subscriber)
    assert message.stream == "all"
    assert parse_message(ALL, message.payload).data == b"\x00\r\n{}"


async def test_messages_come_in_the_order_of_their_ids(bus: Bus, subscriber: Subscriber) -> None:
    alice = user_audience("a{l}ice \U0001f600")
    await subscriber.subscribe(["all", alice.stream])
    assert {await subscriber.receive() for _ in range(2)} == {
        Subscribed("all"),
        Subscribed(alice.stream),
    }
    await bus.publish([event(audience) for audience in (ALL, alice) * 100])
    messages = [await next_message(subscriber) for _ in range(200)]
    ids = [parse_message(ALL, message.payload).id for message in messages]
    assert ids == sorted(set(ids))
    assert [message.stream for message in messages] == ["all", alice.stream] * 100


async def test_thousands_of_streams(bus: Bus, subscriber: Subscriber) -> None:
    streams = [f"user:{number}" for number in range(2_500)]
    await subscriber.subscribe(streams)
    assert [await subscriber.receive() for _ in streams] == [Subscribed(each) for each in streams]


async def test_streams_can_be_given_up(bus: Bus, subscriber: Subscriber) -> None:
    await subscriber.subscribe(["all", "user:alice"])
    for _ in range(2):
        await subscriber.receive()
    await subscriber.unsubscribe(["all"])
    while (await bus.publish([event()]))[0].gateways:  # type: ignore[union-attr]
        await subscriber.receive()
    await bus.publish([event(user_audience("alice"), b"2")])
    assert (await next_message(subscriber)).stream == "user:alice"


async def test_subscribing_while_receiving(bus: Bus, subscriber: Subscriber) -> None:
    receiving = asyncio.create_task(subscriber.receive())
    await asyncio.sleep(0)
    await asyncio.gather(*[subscriber.subscribe([f"user:{number}"]) for number in range(50)])
    received = [await receiving] + [await subscriber.receive() for _ in range(49)]
    assert set(received) == {Subscribed(f"user:{number}") for number in range(50)}


async def test_nobody_listens(namespace: str) -> None:
    subscriber = Subscriber("redis://127.0.0.1:1", Keyspace(namespace))
    with pytest.raises(BusUnavailable, match="ConnectionError"):
        await subscriber.connect()
    await subscriber.aclose()


async def test_a_lost_connection(valkey: Valkey, namespace: str) -> None:
    subscriber = Subscriber(valkey.url, Keyspace(namespace))
    await subscriber.connect()
    await subscriber.subscribe(["all"])
    await subscriber.receive()
    waiting = asyncio.create_task(subscriber.receive())
    await asyncio.sleep(0)
    valkey.kill()
    with pytest.raises(BusUnavailable):
        await waiting
    with pytest.raises(BusUnavailable):
        await subscriber.receive()
    await subscriber.aclose()


async def test_a_silent_redis_is_no_lost_connection(valkey: Valkey, namespace: str) -> None:
    """The probe judges silence (`clarion_gateway.bus.subscription`): an idle stream is silent
    too.
    """
    subscriber = Subscriber(valkey.url, Keyspace(namespace))
    await subscriber.connect()
    await subscriber.subscribe(["all"])
    await subscriber.receive()
    valkey.signal(signal.SIGSTOP)
    waiting = asyncio.create_task(subscriber.receive())
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    valkey.signal(signal.SIGCONT)
    bus = Bus(redis_from_url(valkey.url), Keyspace(namespace), LIMITS)
    await bus.publish([event()])
    assert isinstance(await waiting, Message)
    await bus.aclose()
    await subscriber.aclose()


async def test_closing_ends_whoever_waits(subscriber: Subscriber) -> None:
    await subscriber.subscribe(["all"])
    await subscriber.receive()
    waiting = asyncio.create_task(subscriber.receive())
    await asyncio.sleep(0)
    await subscriber.aclose()
    with pytest.raises(BusUnavailable):
        await asyncio.wait_for(waiting, 60)


async def test_a_cancelled_receive_ends_the_connection(subscriber: Subscriber) -> None:
    """As documented, so that no caller goes on and misses a half-read message."""
    await subscriber.subscribe(["all"])
    await subscriber.receive()
    waiting = asyncio.create_task(subscriber.receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(BusUnavailable):
        await subscriber.receive()
