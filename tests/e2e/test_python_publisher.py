"""`clarion.publisher` while its publisher is killed again and again: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clarion import ALL
from clarion.publisher import Bounds, Publisher, ServiceToken
from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.redis.keyspace import Keyspace
from tests.cli.clarion import SECRET
from tests.e2e.stack import Service, make_stack
from tests.valkey import Valkey

KILLS = 4
# Few may wait, so that few pile up while the publisher is away.
BOUNDS = Bounds(events=20, waiting_bytes=20_000)
TOKEN = ServiceToken(SECRET, "shop", ["publish:all"])


@pytest.fixture
def service(lasting_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Service]:
    """A publisher in a process of its own; nothing else of the stack runs."""
    service = make_stack(tmp_path, lasting_valkey.url, namespace).publisher
    service.start()
    try:
        service.wait_until_ready()
        yield service
    finally:
        service.kill()


def published(redis_url: str, namespace: str) -> list[int]:
    """The numbers of the events in the log, in their order."""

    async def read() -> list[int]:
        limits = HistoryLimits(max_events=100_000, max_age_seconds=3600, key_ttl_seconds=3600)
        bus = Bus(redis_from_url(redis_url), Keyspace(namespace), limits)
        since: int | None = 0
        numbers: list[int] = []
        while since is not None:
            (page,) = await bus.history([(ALL, since)], limit=1_000, broken_too=True)
            numbers += [int(event.data) for event in page.events]
            since = page.next_since
        await bus.aclose()
        return numbers

    return asyncio.run(read())


def killing(service: Service, count: Callable[[], int], stop: Callable[[], None]) -> None:
    """Kill the publisher `KILLS` times, each time after it has published more; then stop."""
    for _ in range(KILLS):
        before = count()
        deadline = time.monotonic() + 60
        while count() < before + 20:
            assert time.monotonic() < deadline, "nothing more is published"
            time.sleep(0.005)
        service.kill()
        service.start()
    service.wait_until_ready()
    stop()


@pytest.mark.parametrize("way", ["publish", "submit"])
def test_a_killed_publisher_neither_loses_nor_doubles_an_event(
    service: Service, lasting_valkey: Valkey, namespace: str, way: str
) -> None:
    stopped = threading.Event()
    receipts: list[str] = []
    sent = 0
    with Publisher(service.url, token=TOKEN, retry_seconds=120, bounds=BOUNDS) as publisher:
        killer = threading.Thread(
            target=killing, args=(service, lambda: len(receipts), stopped.set)
        )
        killer.start()
        while not stopped.is_set():
            if way == "publish":
                receipts.append(publisher.publish(ALL, "tick", sent).id)
            else:
                future = publisher.submit(ALL, "tick", sent)
                future.add_done_callback(lambda done: receipts.append(done.result().id))
                time.sleep(0.001)
            sent += 1
            assert killer.is_alive() or stopped.is_set()
        killer.join()
    assert published(lasting_valkey.url, namespace) == list(range(sent))
    assert receipts == sorted(set(receipts), key=int)
    assert len(receipts) == sent
