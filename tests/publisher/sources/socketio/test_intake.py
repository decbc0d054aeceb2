"""`clarion_publisher.sources.socketio.intake.Intake`: batches of bounded size, in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.orders import Orders
from clarion_contract.events.event import Published
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.authorise import SCOPES
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.socketio.intake import Intake, Taken
from clarion_publisher.sources.socketio.message import STREAM, Emit, Target
from clarion_publisher.sources.socketio.metrics import SocketIoMetrics
from clarion_publisher.sources.socketio.translation import Translation
from tests.conftest import SECRET
from tests.valkey import Valkey

BATCH_EVENTS = 10
MIB = 1 << 20


class Batches:
    """In place of the ingestion: notes each batch, and how many messages had been read by then."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batches: list[list[IncomingEvent]] = []
        self.read: list[float | None] = []
        self._registry = registry

    async def publish(self, caller: Claims, events: Sequence[IncomingEvent]) -> list[Published]:
        assert caller.subject == "socketio"
        self.batches.append(list(events))
        labels = {"producer": STREAM}
        name = "clarion_publisher_socketio_messages_total"
        self.read.append(self._registry.get_sample_value(name, labels))
        return [Published(1, duplicate=False, gateways=0)] * len(events)


async def taken(url: str, *emits: Emit) -> Batches:
    settings = PublisherSettings(redis_url=url, jwt_secret=SECRET)
    bus = Bus(redis_from_url(url), settings.keyspace, settings.history)
    registry = CollectorRegistry()
    intake = Intake(
        Orders(bus, settings.keyspace, max_orders=1),
        Translation(),
        tuple(SCOPES.values()),
        SocketIoMetrics(registry),
        asyncio.Event(),
        batch_events=BATCH_EVENTS,
    )
    batches = Batches(registry)
    ingestion: Any = batches
    await intake.take(
        [Taken(STREAM, str(number), 0.0, emit) for number, emit in enumerate(emits)], ingestion
    )
    await bus.aclose()
    return batches


def emit(rooms: int, data: bytes = b"1") -> Emit:
    target = Target("/", tuple(f"room-{number}" for number in range(rooms)))
    return Emit(target, "tick", (data,))


async def test_messages_for_many_rooms_wait_until_those_before_are_published(
    shared_valkey: Valkey,
) -> None:
    batches = await taken(shared_valkey.url, *[emit(25)] * 8)
    assert [len(batch) for batch in batches.batches] == [BATCH_EVENTS] * 20
    assert batches.read[:5] == [1, 1, 2, 2, 3]
    events = [event for batch in batches.batches for event in batch]
    assert [event.key for event in events] == [
        f"{n}:{room}" for n in range(8) for room in range(25)
    ]


async def test_a_large_message_for_many_rooms_becomes_several_batches(
    shared_valkey: Valkey,
) -> None:
    batches = await taken(shared_valkey.url, emit(8, b'"%b"' % (b"x" * MIB)), emit(1))
    assert [len(batch) for batch in batches.batches] == [3, 3, 3]


async def test_an_event_that_is_larger_than_a_batch_goes_alone(shared_valkey: Valkey) -> None:
    batches = await taken(shared_valkey.url, emit(1), emit(2, b'"%b"' % (b"x" * 5 * MIB)), emit(1))
    assert [len(batch) for batch in batches.batches] == [1, 1, 1, 1]
