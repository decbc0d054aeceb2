"""Redis' clock jumps back an hour: ids go on rising, and clients notice nothing.

One test changes the ids in Redis, which works on any machine. The other changes the real time, if
libfaketime is installed (Debian, Ubuntu: apt-get install libfaketime).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from clarion_contract.events.audience import ALL, AUTHENTICATED, user_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.keyspace import Keyspace
from tests.integration.pod import Pod, eventually, started, token
from tests.integration.sockets import Client, opened
from tests.valkey import Valkey

HOUR_US = 3_600_000_000
AUDIENCES = (ALL, AUTHENTICATED, user_audience("alice"))
LIBRARIES = ("lib/*/faketime/libfaketime.so.1", "lib/faketime/libfaketime.so.1")

Jump = Callable[[], None]


def _libfaketime() -> Path | None:
    found = (path for pattern in LIBRARIES for path in Path("/usr").glob(pattern))
    return next(found, None)


@contextlib.contextmanager
def _remembered(directory: Path, namespace: str) -> Iterator[tuple[Valkey, Jump]]:
    """Make ids run an hour ahead of Redis' clock, which is all that a jump leaves behind."""
    server = Valkey(directory, persist=True)
    server.start()

    def jump() -> None:
        clock = Keyspace(namespace).clock("all")
        with redis.Redis(port=server.port) as client:
            last: Any = client.hget(clock, "now")
            client.hset(clock, "now", str(int(last) + HOUR_US))

    yield server, jump
    server.kill()


@contextlib.contextmanager
def _real(directory: Path, _: str) -> Iterator[tuple[Valkey, Jump]]:
    library = _libfaketime()
    if library is None:
        pytest.skip("libfaketime is not installed")
    offset = directory / "offset"
    offset.write_text("+0")
    server = Valkey(
        directory,
        persist=True,
        environment={
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    server.start()

    def jump() -> None:
        offset.write_text("-3600")

    yield server, jump
    server.kill()


@pytest.fixture(params=[_remembered, _real], ids=["remembered", "real"])
def jumping(
    request: pytest.FixtureRequest, tmp_path: Path, namespace: str
) -> Iterator[tuple[Valkey, Jump]]:
    with request.param(tmp_path, namespace) as made:
        yield made


async def publish_to_each(pod: Pod) -> list[int]:
    return [await pod.publish(audience) for audience in AUDIENCES]


async def ids(client: Client, count: int) -> list[int]:
    return [int(event["id"]) for event in await client.events(count)]


async def answers(pod: Pod) -> bool:
    try:
        await pod.bus.ping()
    except BusUnavailable:
        return False
    return True


def ahead_us(server: Valkey, id_: int) -> int:
    """How far an id lies ahead of what Redis' clock says."""
    with redis.Redis(port=server.port) as client:
        seconds, microseconds = client.time()
    return id_ - int(seconds) * 1_000_000 - int(microseconds)


async def test_ids_rise_and_nobody_misses_anything(
    jumping: tuple[Valkey, Jump], namespace: str
) -> None:
    """Live, after a lost subscription, after a restart of Redis, on a resume, on a fresh pod."""
    server, jump = jumping
    async with (
        started(server.url, namespace) as pod,
        opened(pod) as guest,
        opened(pod, token=token("alice")) as alice,
    ):
        since = int(alice.welcome["id"])
        published = await publish_to_each(pod)
        jump()
        published += await publish_to_each(pod)
        ahead = ahead_us(server, published[-1])
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        published += await publish_to_each(pod)
        await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
        server.kill()
        server.start()
        await pod.counted("clarion_bus_connects_total", 3, outcome="connected")
        await eventually(lambda: answers(pod), what="the test's own connections are new")
        published += await publish_to_each(pod)

        heard = await ids(guest, 4), await ids(alice, 12)
        async with opened(pod, token=token("alice"), since=since) as back:
            resumed = back.welcome["resumed"], await ids(back, 12)
        async with (
            started(server.url, namespace, pod="pod-fresh") as fresh,
            opened(fresh, token=token("alice"), since=published[2]) as back,
        ):
            resumed_elsewhere = back.welcome["resumed"], await ids(back, 9)
        lost = await pod.metric("clarion_gaps_total", outcome="lost")

    assert ahead > 0.9 * HOUR_US, "the jump has happened"
    assert published == sorted(set(published))
    assert heard == (published[::3], published)
    assert resumed == (True, published)
    assert resumed_elsewhere == (True, published[3:])
    assert lost == 0
