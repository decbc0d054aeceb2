"""The bus on a real Valkey: ids, history and its floor, idempotency, and failures midway."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from clarion_contract.bus import bus as bus_module
from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history import History
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import (
    ALL,
    AUTHENTICATED,
    Audience,
    topic_audience,
    user_audience,
)
from clarion_contract.events.errors import BusUnavailable, BusUnreachable, IdempotencyKeyReused
from clarion_contract.events.event import Publication, Published, parse_message
from clarion_contract.events.topic_rules import TopicRules
from clarion_contract.redis import server as redis_server
from clarion_contract.redis.keyspace import Keyspace, pod_stream
from clarion_contract.redis.server import FormerPrimary
from tests.integration.pod import eventually
from tests.valkey import Valkey

ALICE = user_audience("alice")
LIMITS = HistoryLimits(max_events=1_000, max_age_seconds=60, key_ttl_seconds=60)
FUTURE = 4_000_000_000_000_000  # in the year 2096


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """Redis itself, to inspect and disturb."""
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
async def bus(redis_url: str, keys: Keyspace) -> AsyncIterator[Bus]:
    bus = Bus(redis_from_url(redis_url), keys, LIMITS)
    yield bus
    await bus.aclose()


def event(
    audience: Audience = ALL,
    data: bytes = b"1",
    *,
    key: str | None = None,
    kind: str = "t",
    history: bool = True,
) -> Publication:
    return Publication(audience, kind, data, key, history=history)


async def publish(bus: Bus, *publications: Publication) -> list[int]:
    """Publish; return the ids."""
    answers = await bus.publish(publications)
    assert all(isinstance(answer, Published) for answer in answers)
    return [answer.id for answer in answers if isinstance(answer, Published)]


async def history(bus: Bus, audience: Audience = ALL, since: int = 0) -> History:
    (found,) = await bus.history([(audience, since)], limit=1_000, broken_too=True)
    return found


class TestBelief:
    """Reads rest on a server that holds what came in by the pod's subscription."""

    async def test_a_server_that_holds_it_is_read(self, bus: Bus, keys: Keyspace) -> None:
        (event_id,) = await publish(bus, event())
        (probe,) = await bus.probe([pod_stream("p")])
        bus.believe({pod_stream("p"): probe})
        await bus.probe([pod_stream("p")])
        assert [each.id for each in (await history(bus)).events] == [event_id]
        assert await bus.holds("all", event_id)
        assert await bus.read("EXISTS", keys.log("all")) == 1

    async def test_one_that_does_not_is_left(self, bus: Bus, keys: Keyspace) -> None:
        """A new connection may lead to another server: there are two attempts."""
        (event_id,) = await publish(bus, event())
        (probe,) = await bus.probe([pod_stream("p")])
        bus.believe({pod_stream("p"): probe - 1})
        before = await connections(bus)
        for failing in (history(bus), bus.holds("all", event_id), bus.read("ZCARD", keys.orders)):
            with pytest.raises(FormerPrimary):
                await failing
        assert not before & await connections(bus)
        await publish(bus, event())
        await bus.ping()

    async def test_what_redis_may_have_forgotten_is_not_asked_for(
        self, bus: Bus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Redis answers, but has refused probes for as long as it keeps them."""
        bus.believe({pod_stream("p"): 1})
        later = time.monotonic() + LIMITS.max_age_seconds + 1
        monkeypatch.setattr(bus_module, "time", SimpleNamespace(monotonic=lambda: later))
        assert (await history(bus)).events == []


class TestLeaving:
    """Connections that may lead to a primary that another one has replaced."""

    async def test_one_in_use_is_closed_after_its_answer_if_another_failed(
        self, bus: Bus, redis: Redis, namespace: str
    ) -> None:
        waiting = asyncio.create_task(bus.command("BLPOP", f"{namespace}:list", 0))
        blocked: set[str] = set()

        async def is_blocked() -> bool:
            clients = await redis.client_list()
            blocked.update(each["id"] for each in clients if each["cmd"] == "blpop")
            return bool(blocked)

        await eventually(is_blocked, what="a command under way")
        with pytest.raises(BusUnavailable):
            await bus.command("NO-SUCH-COMMAND")
        await redis.rpush(f"{namespace}:list", "1")
        assert (await waiting)[1] == b"1"

        async def is_closed() -> bool:
            return blocked.isdisjoint(each["id"] for each in await redis.client_list())

        await eventually(is_closed, what="its connection is closed")

    async def test_one_whose_replicas_have_left_is_closed(self, bus: Bus, redis: Redis) -> None:
        before = await connections(bus)
        await redis.config_set("min-replicas-to-write", 1)
        try:
            (answer,) = await bus.publish([event()])
        finally:
            await redis.config_set("min-replicas-to-write", 0)
        assert "NOREPLICAS" in str(answer)
        assert not before & await connections(bus)
        await publish(bus, event())


async def connections(bus: Bus) -> set[int]:
    """Ids of the connections that the bus has open at most."""
    return {await bus.command("CLIENT", "ID")}


class TestIds:
    async def test_rise_over_all_streams(self, bus: Bus) -> None:
        audiences = itertools.islice(itertools.cycle([ALL, AUTHENTICATED, ALICE]), 300)
        ids = await publish(bus, *[event(audience) for audience in audiences])
        assert ids == sorted(set(ids))

    async def test_rise_over_concurrent_publishers(self, bus: Bus) -> None:
        batches = await asyncio.gather(*[publish(bus, *[event()] * 20) for _ in range(20)])
        assert all(ids == sorted(ids) for ids in batches)
        assert len(set(itertools.chain(*batches))) == 400

    async def test_are_microseconds_of_redis_time(self, bus: Bus) -> None:
        before = time.time()
        (id_,) = await publish(bus, event())
        # Redis looks at its clock once in each round of its loop: it may lag a little.
        assert before - 1 <= id_ / 1_000_000 <= time.time()

    async def test_rise_when_the_clock_has_jumped_back(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """The last id issued lies far ahead of Redis' time, as after a jump."""
        await redis.hset(keys.clock("all"), "now", str(FUTURE))
        ids = await publish(bus, event(), event(ALICE), event())
        assert ids == [FUTURE + 1, FUTURE + 2, FUTURE + 3]

    async def test_rise_on_their_stream_when_the_clock_was_evicted(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        await redis.hset(keys.clock("all"), "now", str(FUTURE))
        (before,) = await publish(bus, event())
        await redis.delete(keys.clock("all"))
        (after,) = await publish(bus, event())
        assert after == before + 1

    async def test_probes_are_ids_too(self, bus: Bus) -> None:
        (before,) = await publish(bus, event())
        (probe,) = await bus.probe([pod_stream("pod-1")])
        (after,) = await publish(bus, event())
        assert before < probe < after


class TestPrev:
    async def test_chains_each_stream(self, bus: Bus) -> None:
        alls = await publish(bus, event(), event(ALICE), event(), event(ALICE), event())
        found = await history(bus)
        assert [each.id for each in found.events] == [alls[0], alls[2], alls[4]]
        assert [each.prev for each in found.events[1:]] == [alls[0], alls[2]]
        assert found.last == alls[4]

    async def test_begins_below_everything(self, bus: Bus) -> None:
        """A first event's prev is a floor, since a gateway that knows a later id has seen no event."""
        (first,) = await publish(bus, event())
        (found,) = (await history(bus)).events
        assert 0 < found.prev < first

    async def test_goes_on_after_the_log_has_expired(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        (before,) = await publish(bus, event())
        await redis.delete(keys.log("all"))
        await publish(bus, event())
        (found,) = (await history(bus)).events
        assert found.prev == before

    async def test_the_message_carries_it(self, bus: Bus, redis: Redis, keys: Keyspace) -> None:
        subscriber = redis.pubsub()
        await subscriber.subscribe(keys.channel("all"))
        await subscriber.get_message(timeout=60)
        first, second = await publish(bus, event(data=b"{}\n "), event(data=b"2"))
        messages = [await subscriber.get_message(timeout=60) for _ in range(2)]
        await subscriber.aclose()
        assert [message and message["data"].split(b" ", 2)[2] for message in messages] == [
            b"t - -\n{}\n",  # a space behind the data would be a mark
            b"t - -\n2",
        ]
        assert messages[1] is not None
        assert messages[1]["data"].startswith(b"%d %d " % (second, first))


class TestHistory:
    async def test_reads_after_a_position(self, bus: Bus) -> None:
        ids = await publish(bus, *[event(data=b"%d" % number) for number in range(10)])
        found = await history(bus, since=ids[6])
        assert [(each.id, each.data) for each in found.events] == [
            (ids[7], b"7"),
            (ids[8], b"8"),
            (ids[9], b"9"),
        ]
        assert (await history(bus, since=ids[9])).events == []
        assert (await history(bus, since=FUTURE)).events == []

    async def test_reads_many_streams_at_once(self, bus: Bus) -> None:
        ids = await publish(bus, event(ALICE), event(), event(ALICE))
        found = await bus.history(
            [(ALL, 0), (ALICE, ids[0]), (AUTHENTICATED, 0)], limit=10, broken_too=True
        )
        assert [[each.id for each in one.events] for one in found] == [[ids[1]], [ids[2]], []]

    async def test_is_limited_per_stream(self, bus: Bus) -> None:
        ids = await publish(bus, *[event()] * 5)
        (found,) = await bus.history([(ALL, 0)], limit=3, broken_too=True)
        assert [each.id for each in found.events] == ids[:3]
        assert found.last == ids[4]

    async def test_is_read_in_pages_that_are_bounded_in_bytes(self, bus: Bus) -> None:
        """Sizes that the script's steps do not foresee, and one event that is larger than a page."""
        sizes = [1] * 40 + [9_000] * 30 + [50_000] + [1] * 40
        ids = await publish(bus, *[Publication(ALL, "tick", b"1" * size) for size in sizes])
        read: list[int] = []
        since: int | None = 0
        while since is not None:
            (page,) = await bus.history(
                [(ALL, since)], limit=500, broken_too=True, max_bytes=20_000
            )
            *rest, last = [len(each.data) for each in page.events] or [0]
            assert sum(rest) < 20_000
            assert page.next_since is None or sum(rest) + last >= 20_000
            read += [each.id for each in page.events]
            since = page.next_since
        assert read == ids

    async def test_shares_the_bytes_of_a_page_among_the_streams(self, bus: Bus) -> None:
        ids = await publish(bus, *[Publication(ALL, "tick", b"1" * 100)] * 9, event(ALICE))
        found = await bus.history([(ALL, ids[0]), (ALICE, ids[0])], limit=99, max_bytes=400)
        assert [each.id for each in found[0].events] == ids[1:3]
        assert found[0].next_since == ids[2]
        assert ([each.id for each in found[1].events], found[1].next_since) == ([ids[9]], None)

    async def test_a_page_that_ends_with_an_entry_that_is_none_is_read_on(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        ids = await publish(bus, event())
        await redis.xadd(keys.log("all"), {"x": "y"}, id=f"{ids[0] + 1}-0")
        ids += await publish(bus, event())
        (found,) = await bus.history([(ALL, 0)], limit=2, broken_too=True)
        assert ([each.id for each in found.events], found.next_since) == ([ids[0]], ids[0] + 1)

    async def test_a_log_is_not_whole_up_to_an_entry_that_is_no_event(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """Such as one of a later version: clients are told, and do not miss it in silence."""
        (first,) = await publish(bus, event())
        await redis.xadd(keys.log("all"), {"p": "1", "h": "v2", "d": "1"}, id=f"{first + 1}-0")
        (last,) = await publish(bus, event())
        found = await history(bus, since=first)
        assert found.floor == first + 1
        assert [each.id for each in found.events] == [last]
        assert (await history(bus, since=first + 1)).floor <= first + 1

    async def test_gives_back_every_part(self, bus: Bus) -> None:
        trace = f"00-{'1' * 32}-{'2' * 16}-01"
        publication = Publication(ALICE, "a.b:c/d", b"\x00\xff\r\n{", None, "connection", trace)
        (id_,) = await publish(bus, publication)
        (found,) = (await history(bus, ALICE)).events
        assert (found.id, found.audience, found.type) == (id_, ALICE, "a.b:c/d")
        assert (found.data, found.exclude, found.trace) == (b"\x00\xff\r\n{", "connection", trace)

    @pytest.mark.parametrize(
        "user", ["{x}", "}", "a b", "\U0001f600", "a\nb", "\x00", "*", "all", "%7B", "x" * 10_240]
    )
    async def test_any_user_has_a_stream(self, bus: Bus, user: str) -> None:
        audience = Audience("user", user)
        (id_,) = await publish(bus, event(audience))
        found = await history(bus, audience)
        assert [(each.id, each.audience) for each in found.events] == [(id_, audience)]
        assert (await history(bus)).events == []

    @pytest.mark.parametrize("data", [b"", b"null", b"[1.50]", b'"\xf0\x9f\x98\x80"', b"\n" * 100])
    async def test_bytes_of_data_are_untouched(self, bus: Bus, data: bytes) -> None:
        await publish(bus, event(data=data))
        assert [each.data for each in (await history(bus)).events] == [data]


class TestFloor:
    """The log is complete for every position at or above the floor."""

    async def test_of_a_stream_without_events_is_the_epoch(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        found = await history(bus)
        epoch = int(await redis.hget(keys.clock("all"), "epoch") or 0)
        assert (found.floor, found.last, found.events) == (epoch, 0, [])
        (id_,) = await publish(bus, event())
        assert found.floor < id_
        assert (await history(bus)).floor == found.floor

    async def test_of_a_log_that_was_trimmed_is_the_first_events_prev(
        self, redis_url: str, keys: Keyspace
    ) -> None:
        bus = Bus(redis_from_url(redis_url), keys, HistoryLimits(100, 60, 60))
        ids = await publish(bus, *[event()] * 400)
        found = await history(bus)
        await bus.aclose()
        kept = [each.id for each in found.events]
        assert 100 <= len(kept) <= 200  # Redis trims whole nodes of 100 events
        assert kept == ids[-len(kept) :]
        assert found.floor == ids[-len(kept) - 1]

    async def test_a_rule_keeps_less_of_a_topic_and_the_stream_is_remembered_for_as_long(
        self, redis_url: str, redis: Redis, keys: Keyspace
    ) -> None:
        rules = TopicRules.model_validate(
            {
                "topics": [
                    {"pattern": "few", "history": {"max_events": 100, "max_age_seconds": 5}},
                    {"pattern": "none", "history": False},
                ]
            }
        )
        bus = Bus(redis_from_url(redis_url), keys, HistoryLimits(1_000, 60, 60, rules))
        few, none, other = (topic_audience(name) for name in ("few", "none", "other"))
        for topic in (few, none, other):
            await publish(bus, *[event(topic)] * 400)
        logs = [await history(bus, topic) for topic in (few, none, other)]
        await bus.aclose()
        few_kept, none_kept, other_kept = (len(log.events) for log in logs)
        assert 100 <= few_kept <= 200
        assert (none_kept, other_kept) == (0, 400)
        assert logs[0].floor == logs[0].events[0].prev
        assert logs[1].floor < logs[1].last
        assert 0 < await redis.pttl(keys.log(few.stream)) <= 6_000
        assert await redis.pttl(keys.meta(few.stream)) > 100_000

    async def test_events_past_their_age_are_trimmed(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """300 events from an hour ago are in the log when the next one is published."""
        old = int((time.time() - 3_600) * 1_000_000)
        pipeline = redis.pipeline()
        for number in range(300):
            fields = {"p": str(old + number - 1), "h": "t - -", "d": "1"}
            pipeline.xadd(keys.log("all"), fields, id=f"{old + number}-0")
        pipeline.hset(keys.meta("all"), "last", str(old + 299))
        await pipeline.execute()
        await publish(bus, event())
        found = await history(bus)
        assert len(found.events) <= 101
        assert found.floor == found.events[0].prev

    async def test_logs_expire_and_outlive_their_events(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        (id_,) = await publish(bus, event())
        published_ms = id_ // 1_000
        assert await redis.pexpiretime(keys.log("all")) > published_ms + 60_000
        assert await redis.pexpiretime(keys.meta("all")) > published_ms + 120_000
        assert await redis.pttl(keys.log("all")) <= 61_000
        assert await redis.pttl(keys.meta("all")) <= 121_000
        assert await redis.pttl(keys.clock("all")) == -1

    async def test_logs_live_on_while_the_clock_is_ahead(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """Ids then stand still for an hour, and the log of a busy stream must not expire."""
        await redis.hset(keys.clock("all"), "now", str(FUTURE))
        await publish(bus, event())
        await redis.pexpire(keys.log("all"), 5_000)
        await redis.hset(keys.meta("all"), "aged", "1")  # the second in which it last aged
        await publish(bus, event())
        assert await redis.pttl(keys.log("all")) > 5_000

    async def test_of_an_expired_log_is_the_last_id(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        (last,) = await publish(bus, event())
        await redis.delete(keys.log("all"))
        found = await history(bus)
        assert (found.floor, found.last, found.events) == (last, last, [])

    async def test_of_a_forgotten_stream_is_two_ages_ago(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        await publish(bus, event())
        await redis.delete(keys.log("all"), keys.meta("all"))
        await redis.hset(keys.clock("all"), "epoch", "1")
        before = time.time()
        found = await history(bus)
        assert before - 121 <= found.floor / 1_000_000 <= time.time() - 120
        await publish(bus, event())
        (first,) = (await history(bus)).events
        assert found.floor <= first.prev < first.id - 119_000_000

    async def test_of_an_emptied_redis_lies_above_every_id_before(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """A client with an older id must not be told that nothing is missing."""
        (before,) = await publish(bus, event())
        async for key in redis.scan_iter(f"{keys.namespace}:*"):
            await redis.delete(key)
        emptied = await history(bus)
        assert emptied.floor > before
        (after,) = await publish(bus, event())
        found = await history(bus)
        assert before < found.floor < after
        assert found.events[0].prev == found.floor


class TestWithoutHistory:
    """Events that no log holds: they have ids, and they are links of the chain of `prev`."""

    async def test_are_delivered_and_not_logged(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        subscriber = redis.pubsub()
        await subscriber.subscribe(keys.channel("all"))
        await subscriber.get_message(timeout=60)
        first, fleeting, last = await publish(
            bus, event(), event(data=b"  [2]", history=False), event(data=b" 3")
        )
        heard = []
        for _ in range(3):
            message = await subscriber.get_message(timeout=60)
            assert message is not None
            heard.append(parse_message(ALL, message["data"]))
        await subscriber.aclose()
        assert [(each.id, each.data, each.history) for each in heard] == [
            (first, b"1", True),
            (fleeting, b"[2]", False),
            (last, b"3", True),
        ]
        assert [each.prev for each in heard[1:]] == [first, fleeting]
        found = await history(bus)
        assert [(each.id, each.history) for each in found.events] == [(first, True), (last, True)]
        assert found.events[1].prev == fleeting

    async def test_the_log_is_whole_before_them_as_after_them(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """A client that missed nothing else has missed nothing of the log."""
        first, _, _, last = await publish(
            bus, event(), event(history=False), event(history=False), event()
        )
        await redis.xdel(keys.log("all"), f"{first}-0")
        found = await history(bus)
        assert (found.floor, [each.id for each in found.events]) == (first, [last])

    async def test_a_page_tells_the_last_event_that_was_logged_before_it(self, bus: Bus) -> None:
        first, fleeting, second, newest = await publish(
            bus, event(), event(history=False), event(), event(history=False)
        )
        pages = {
            since: await history(bus, since=since) for since in (first, fleeting, second, newest)
        }
        assert [page.logged for page in pages.values()] == [first, first, second, second]
        assert [len(page.events) for page in pages.values()] == [1, 1, 0, 0]

    async def test_an_empty_log_ends_with_the_last_one_that_was_logged(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        logged, _, newest = await publish(bus, event(), event(history=False), event(history=False))
        await redis.delete(keys.log("all"))
        found = await history(bus)
        assert (found.floor, found.last, found.events) == (logged, newest, [])

    async def test_a_stream_that_never_had_others_is_whole_from_its_beginning(
        self, bus: Bus
    ) -> None:
        before = (await history(bus)).floor
        (newest,) = await publish(bus, event(history=False))
        found = await history(bus)
        assert (found.floor, found.last, found.events) == (before, newest, [])

    async def test_what_a_publisher_of_an_older_version_logged_counts(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """It writes `last` only, so what `logged` says is out of date."""
        await publish(bus, event(), event(history=False))
        old = await redis.hget(keys.meta("all"), "logged")
        (logged,) = await publish(bus, event())
        await redis.hset(keys.meta("all"), "logged", old or "")
        await redis.delete(keys.log("all"))
        assert (await history(bus)).floor == logged
        await publish(bus, event(history=False))
        assert (await history(bus)).floor == logged

    async def test_the_newest_is_known_though_no_log_has_it(self, bus: Bus) -> None:
        (fleeting,) = await publish(bus, event(history=False))
        assert await bus.holds("all", fleeting)
        await publish(bus, event())
        assert not await bus.holds("all", fleeting)

    async def test_keys_hold_for_them_too(self, bus: Bus) -> None:
        first, again, other = await bus.publish(
            [event(key="k", history=False), event(key="k", history=False), event(key="k")]
        )
        assert isinstance(first, Published)
        assert again == Published(first.id, duplicate=True, gateways=first.gateways)
        assert isinstance(other, IdempotencyKeyReused)


class TestIdempotency:
    async def test_the_same_event_again(self, bus: Bus) -> None:
        (first,) = await bus.publish([event(key="k")])
        (again,) = await bus.publish([event(key="k")])
        assert isinstance(first, Published)
        assert again == Published(first.id, duplicate=True, gateways=first.gateways)
        assert len((await history(bus)).events) == 1

    @pytest.mark.parametrize(
        "other", [event(key="k", data=b"2"), event(key="k", kind="u"), event(key="k", data=b"1 ")]
    )
    async def test_another_event(self, bus: Bus, other: Publication) -> None:
        (first,) = await publish(bus, event(key="k"))
        (refused,) = await bus.publish([other])
        assert isinstance(refused, IdempotencyKeyReused)
        assert refused.id == first
        assert len((await history(bus)).events) == 1

    async def test_another_trace_is_no_other_event(self, bus: Bus) -> None:
        """A retry has a span of its own."""
        traces = [f"00-{'1' * 32}-{digit * 16}-01" for digit in "23"]
        answers = [
            (await bus.publish([Publication(ALL, "t", b"1", "k", trace=trace)]))[0]
            for trace in traces
        ]
        assert [isinstance(each, Published) and each.duplicate for each in answers] == [False, True]

    async def test_a_key_belongs_to_its_stream(self, bus: Bus) -> None:
        await publish(bus, event(key="k"), event(ALICE, key="k"))
        assert len((await history(bus, ALICE)).events) == 1

    async def test_concurrent_publishes(self, bus: Bus) -> None:
        answers = await asyncio.gather(*[bus.publish([event(key="k")]) for _ in range(50)])
        published = [each for (each,) in answers if isinstance(each, Published)]
        assert sorted(each.duplicate for each in published) == [False] + [True] * 49
        assert len({each.id for each in published}) == 1

    async def test_within_one_pipeline(self, bus: Bus) -> None:
        first, again, other = await bus.publish(
            [event(key="k"), event(key="k"), event(key="k", data=b"2")]
        )
        assert isinstance(first, Published)
        assert isinstance(again, Published)
        assert again.duplicate
        assert isinstance(other, IdempotencyKeyReused)

    async def test_keys_are_forgotten(self, bus: Bus, redis: Redis, keys: Keyspace) -> None:
        (first,) = await publish(bus, event(key="k"))
        assert 0 < await redis.pttl(keys.key("all", "k")) <= 60_000
        await redis.pexpireat(keys.key("all", "k"), 1)
        (again,) = await bus.publish([event(key="k")])
        assert isinstance(again, Published)
        assert not again.duplicate
        assert again.id > first

    async def test_odd_characters_in_keys(self, bus: Bus) -> None:
        for key in ("a b", "{x}", "\n", "\U0001f600", "1 2 3"):
            await publish(bus, event(key=key))
            (again,) = await bus.publish([event(key=key)])
            assert isinstance(again, Published)
            assert again.duplicate


class TestGateways:
    async def test_are_the_subscribers_of_the_stream(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        subscriber = redis.pubsub()
        await subscriber.subscribe(keys.channel("all"), keys.channel(pod_stream("p")))
        for _ in range(2):
            await subscriber.get_message(timeout=60)
        answers = await bus.publish([event(), event(ALICE)])
        assert [isinstance(each, Published) and each.gateways for each in answers] == [1, 0]
        await subscriber.aclose()


class TestFailures:
    async def test_scripts_are_loaded_where_they_are_missing(self, bus: Bus, redis: Redis) -> None:
        await publish(bus, event())
        await redis.script_flush()
        ids = await publish(bus, event(), event(ALICE), event())
        assert ids == sorted(ids)
        await redis.script_flush()
        assert len((await history(bus)).events) == 3
        await redis.script_flush()
        assert await bus.probe([pod_stream("pod")]) > ids[-1:]

    async def test_nothing_to_publish(self, bus: Bus) -> None:
        assert await bus.publish([]) == []

    async def test_a_refused_event_spoils_no_other(
        self, bus: Bus, redis: Redis, keys: Keyspace
    ) -> None:
        """One stream's key holds another type; the stream's last id stays correct."""
        await redis.set(keys.log("user:alice"), "not a stream")
        first, refused, last = await bus.publish([event(), event(ALICE), event()])
        assert isinstance(first, Published)
        assert isinstance(refused, BusUnavailable)
        assert isinstance(last, Published)
        assert await redis.exists(keys.meta("user:alice")) == 0
        with pytest.raises(BusUnavailable, match="WRONGTYPE"):
            await history(bus, ALICE)

    async def test_nobody_listens(self, namespace: str) -> None:
        bus = Bus(redis_from_url("redis://127.0.0.1:1"), Keyspace(namespace), LIMITS)
        for failing in (
            bus.publish([event()]),
            bus.history([(ALL, 0)], limit=1),
            bus.probe([pod_stream("p")]),
            bus.ping(),
        ):
            with pytest.raises(BusUnreachable, match="ConnectionError"):
                await failing
        await bus.aclose()

    async def test_a_cancelled_publish_leaves_no_reply_behind(
        self, valkey: Valkey, namespace: str
    ) -> None:
        """The publish is cancelled after everything is sent and before the answers arrive."""
        bus = Bus(redis_from_url(valkey.url), Keyspace(namespace), LIMITS)
        await publish(bus, event(ALICE, b"before"))
        valkey.signal(signal.SIGSTOP)
        publishing = asyncio.create_task(bus.publish([event(data=b"lost")] * 3))
        for _ in range(100):  # nothing but turns of the loop until all of it is sent
            await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        next_one = asyncio.create_task(publish(bus, event(ALICE, b"after")))
        for _ in range(100):
            await asyncio.sleep(0)
        valkey.signal(signal.SIGCONT)
        (id_,) = await next_one
        found = (await history(bus, ALICE)).events
        assert [(each.id, each.data) for each in found[1:]] == [(id_, b"after")]
        await bus.aclose()

    async def test_publishes_cancelled_at_any_step(self, bus: Bus) -> None:
        for steps in range(30):
            publishing = asyncio.create_task(bus.publish([event(data=b"lost")] * 3))
            for _ in range(steps):
                await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
            mark = b"%d" % steps
            (id_,) = await publish(bus, event(ALICE, mark))
            (found,) = (await history(bus, ALICE, id_ - 1)).events
            assert (found.id, found.data) == (id_, mark)

    async def test_redis_hangs(
        self, valkey: Valkey, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The publish gives up in time. Once Redis wakes, the event is published, as documented."""
        monkeypatch.setattr(redis_server, "COMMAND_TIMEOUT_SECONDS", 0.3)
        bus = Bus(redis_from_url(valkey.url), Keyspace(namespace), LIMITS)
        await publish(bus, event(data=b"before"))
        valkey.signal(signal.SIGSTOP)
        with pytest.raises(BusUnavailable, match="Timeout"):
            await bus.publish([event(data=b"during", key="k")])
        monkeypatch.undo()
        valkey.signal(signal.SIGCONT)
        (again,) = await bus.publish([event(data=b"during", key="k")])
        assert isinstance(again, Published)
        assert [each.data for each in (await history(bus)).events] == [b"before", b"during"]
        await bus.aclose()

    async def test_redis_dies_midway_and_comes_back(self, valkey: Valkey, namespace: str) -> None:
        bus = Bus(redis_from_url(valkey.url), Keyspace(namespace), LIMITS)
        (before,) = await publish(bus, event())
        valkey.signal(signal.SIGSTOP)
        publishing = asyncio.create_task(bus.publish([event()] * 100))
        for _ in range(100):  # nothing but turns of the loop until all of it is sent
            await asyncio.sleep(0)
        valkey.kill()
        with pytest.raises(BusUnavailable) as failure:
            await publishing
        assert not isinstance(failure.value, BusUnreachable), "they may have run"
        with pytest.raises(BusUnavailable):
            await bus.ping()
        valkey.start()
        (after,) = await publish(bus, event())
        assert after > before
        assert (await history(bus)).floor > before
        await bus.aclose()

    async def test_a_primary_that_became_a_replica_is_left(
        self, valkey: Valkey, namespace: str
    ) -> None:
        """Its name may lead to the new primary by now, so the next publish reconnects."""
        admin = Redis.from_url(valkey.url)
        bus = Bus(redis_from_url(valkey.url), Keyspace(namespace), LIMITS)
        await publish(bus, event())
        connections = (await admin.info("stats"))["total_connections_received"]
        await admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        (refused,) = await bus.publish([event()])
        assert isinstance(refused, BusUnavailable)
        assert "read only replica" in str(refused).lower()
        await admin.execute_command("REPLICAOF", "NO", "ONE")
        await publish(bus, event())
        assert (await admin.info("stats"))["total_connections_received"] == connections + 1
        await bus.aclose()
        await admin.aclose()


@pytest.mark.parametrize("url", ["", "http://host", "redis://host:port"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        redis_from_url(url)


async def test_a_cancellation_is_never_swallowed(bus: Bus) -> None:
    """asyncio.wait_for, with which redis-py applies its socket timeout, did so in Python 3.11."""

    async def publish_for_ever() -> None:
        while True:
            await bus.publish([Publication(ALL, "tick", b"1")])

    tasks = [asyncio.create_task(publish_for_ever()) for _ in range(40)]
    for _ in range(200):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    _, pending = await asyncio.wait(tasks, timeout=60)
    for task in pending:
        task.cancel()
    assert not pending
