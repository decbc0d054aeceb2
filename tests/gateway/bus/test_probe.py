"""`clarion_gateway.bus.probe.Prober` with several primaries: no position may run ahead of any of
them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import pytest

from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.bus.probe import GAP_SECONDS, STAYED_AWAY, Prober
from tests.gateway.clockwork import ClockworkLoop

SEVERAL = ["pod:p", "shard:0:p", "shard:1:p"]
INTERVAL, TIMEOUT = 5.0, 2.0


class Echo:
    """Publishes probes, which come back at once from all streams except the deaf ones."""

    def __init__(self) -> None:
        self.prober: Prober
        self.deaf: set[str] = set()
        self.down = False
        self.silent_connections = 0
        self.seconds = 0.0
        self.believed: list[dict[str, int]] = []
        self.levelled: list[tuple[list[str], int]] = []
        self.last = 0

    async def probe(self, streams: Sequence[str]) -> list[int]:
        await asyncio.sleep(self.seconds)
        if self.silent_connections:
            self.silent_connections -= 1
            await asyncio.sleep(3_600)
        if self.down:
            raise BusUnavailable("down")
        ids = []
        for stream in streams:
            self.last += 1
            ids.append(self.last)
            if stream not in self.deaf:
                self.prober.hear(stream, self.last)
        return ids

    def believe(self, heard: Mapping[str, int]) -> None:
        self.believed.append(dict(heard))

    async def begin(self) -> None:
        raise NotImplementedError

    async def level(self, streams: Sequence[str], shared_id: int) -> None:
        self.levelled.append((list(streams), shared_id))


class Probed:
    def __init__(self, streams: list[str]) -> None:
        self.loop = ClockworkLoop()
        self.bus = Echo()
        self.prober = self.bus.prober = Prober(
            self.bus,
            interval_seconds=INTERVAL,
            timeout_seconds=TIMEOUT,
            clocks=self.bus if len(streams) > 1 else None,
            clock=self.loop.time,
        )
        self.loop.run_until_complete(self.prober.begin(streams))
        self.running = self.loop.create_task(self.prober.run())
        self.loop.create_task(asyncio.sleep(3_600))  # there is something to end in any case
        self.loop.settle()

    @property
    def failure(self) -> BaseException | None:
        return self.running.exception() if self.running.done() else None


@pytest.fixture
def gap() -> float:
    """The time between two probes, which other tests do without."""
    return GAP_SECONDS


@pytest.fixture(params=[SEVERAL, SEVERAL[:1]], ids=["several", "one"])
def probed(request: pytest.FixtureRequest) -> Iterator[Probed]:
    probed = Probed(request.param)
    yield probed
    probed.loop.finish()


def several(probed: Probed) -> bool:
    return bool(probed.bus.levelled)


def test_one_that_stays_away_on_any_stream_ends_the_connection(probed: Probed) -> None:
    assert probed.prober.verified_age_seconds == 0
    (believed,) = probed.bus.believed
    probed.bus.deaf = {SEVERAL[1] if several(probed) else SEVERAL[0]}
    probed.loop.advance(INTERVAL + TIMEOUT + 0.1)
    assert isinstance(probed.failure, BusUnavailable)
    assert str(probed.failure) == STAYED_AWAY
    assert probed.bus.believed == [believed], "Redis is believed by a probe that came back only"


def test_one_that_is_not_published_ends_several_connections_but_not_one(probed: Probed) -> None:
    """A single connection cannot run ahead of itself, and may still deliver others' events."""
    probed.bus.down = True
    probed.loop.advance(INTERVAL + 0.1)
    assert isinstance(probed.failure, BusUnavailable) is several(probed)
    if not several(probed):
        assert str(probed.prober.trouble) == "down"
        probed.bus.down = False
        probed.loop.advance(INTERVAL)
        assert probed.prober.trouble is None


def test_publishing_counts_where_there_are_several(probed: Probed) -> None:
    """Otherwise a late probe would be followed by one that may be equally late."""
    probed.bus.seconds = TIMEOUT + 1
    probed.loop.advance(INTERVAL + TIMEOUT + 2)
    assert isinstance(probed.failure, BusUnavailable) is several(probed)


def test_clocks_are_looked_at_with_each_probe() -> None:
    probed = Probed(SEVERAL)
    probed.loop.advance(INTERVAL + 0.1)
    assert [streams for streams, _ in probed.bus.levelled] == [SEVERAL] * 2
    assert [shared_id % 3 for _, shared_id in probed.bus.levelled] == [1, 1]
    probed.loop.finish()


def test_all_connections_that_go_silent_at_once_are_replaced_within_interval_and_timeout(
    probed: Probed,
) -> None:
    """The first connection for commands answers nothing, a new one does; the subscription is deaf
    all along."""
    probed.bus.silent_connections = 1
    probed.bus.deaf = set(SEVERAL)
    probed.loop.advance(INTERVAL + TIMEOUT + 0.1)
    assert isinstance(probed.failure, BusUnavailable)


def test_a_probe_has_the_whole_time_limit_to_come_back() -> None:
    probed = Probed(SEVERAL[:1])
    probed.bus.deaf = set(SEVERAL)
    probed.loop.advance(INTERVAL + 0.9 * TIMEOUT)
    assert probed.failure is None
    probed.prober.hear(SEVERAL[0], probed.bus.last)
    probed.loop.advance(TIMEOUT)
    assert probed.failure is None
    probed.loop.finish()


def test_it_says_that_redis_hangs() -> None:
    probed = Probed(SEVERAL[:1])
    probed.bus.silent_connections = 2
    probed.loop.advance(INTERVAL + 0.6 * TIMEOUT)
    assert str(probed.prober.trouble) == "Redis did not answer in time"
    probed.loop.finish()


def test_a_subscription_that_delivers_again_after_redis_hung_is_kept() -> None:
    probed = Probed(SEVERAL[:1])
    probed.bus.silent_connections = 5
    probed.loop.advance(INTERVAL + 0.5 * TIMEOUT + 4 * TIMEOUT + 0.1)
    assert probed.failure is None
    assert probed.prober.verified_age_seconds < 1
    probed.loop.finish()


def test_callers_of_a_storm_share_probes(gap: float) -> None:
    """The first one on a quiet pod has its probe at once, and the next ones share another."""
    probed = Probed(SEVERAL[:1])
    try:
        probed.loop.advance(gap)
        first = probed.prober.sent
        waiting = [probed.loop.create_task(probed.prober.after(first))]
        probed.loop.settle()
        assert waiting[0].done()
        assert probed.prober.sent == first + 1
        for _ in range(10):
            waiting.append(probed.loop.create_task(probed.prober.after(probed.prober.sent)))
            probed.loop.advance(gap / 20)
        assert not any(each.done() for each in waiting[1:])
        probed.loop.advance(gap)
        assert all(each.done() for each in waiting)
        assert probed.prober.sent == first + 2
    finally:
        probed.loop.finish()
