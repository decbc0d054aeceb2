"""An `AsyncPublisher` whose `close` is cancelled: nothing stays open, and no event is forgotten."""

from __future__ import annotations

import asyncio
import logging

import pytest

from clarion import ALL
from clarion.publisher import AsyncPublisher, Unavailable
from tests.cancelling import cancelled_at_each_step
from tests.clients.python.publisher.test_publishing import SHOP
from tests.publisher.service import serving
from tests.tcp import listening, port_of


@pytest.mark.parametrize("way", ["http", "redis"])
@pytest.mark.parametrize("name", ["publish", "submit"])
async def test_nothing_stays_open(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch, way: str, name: str
) -> None:
    monkeypatch.setenv("CLARION_NAMESPACE", namespace)
    with serving(redis_url, namespace=namespace) as service:

        async def life() -> None:
            url = redis_url if way == "redis" else service.url
            async with AsyncPublisher(url, token=SHOP) as publisher:
                await getattr(publisher, name)(ALL, "tick", 1)

        await cancelled_at_each_step(life)


async def test_events_that_wait_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """One batch is under way, and more events wait for it."""
    asked = asyncio.Event()

    async def never_answers(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()

    async with listening(never_answers) as server:
        publisher = AsyncPublisher(f"http://127.0.0.1:{port_of(server)}", token=SHOP)
        under_way = await publisher.submit(ALL, "tick", 1, key="1")
        await asked.wait()
        waiting = await publisher.submit(ALL, "tick", 2, key="2")
        closing = asyncio.create_task(publisher.close())
        await asyncio.sleep(0)
        closing.cancel()
        with caplog.at_level(logging.ERROR, "clarion.publisher"):
            await asyncio.wait([closing])

    assert closing.cancelled()
    for each, key in ((under_way, "1"), (waiting, "2")):
        with pytest.raises(Unavailable, match="closed before") as told:
            await each
        assert told.value.key == key, "for another attempt"
    assert [each.getMessage() for each in caplog.records] == [
        "1 of 1 events are not published: the publisher was closed before the event was confirmed"
    ] * 2
    await publisher.flush()  # nothing waits any more
