"""Growing texts on a real Valkey: pieces, ends, what the log holds of them, silent producers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.texts import MissingPieces, Texts
from clarion_contract.events.audience import topic_audience
from clarion_contract.events.event import Event, Publication, parse_message
from clarion_contract.events.topic_rules import TopicRules
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.texts.piece import InvalidText, Piece, piece_of
from clarion_contract.texts.writer import Carrier, Standing, Step

TOPIC = topic_audience("answer.1")
LIMITS = HistoryLimits(max_events=1_000, max_age_seconds=60, key_ttl_seconds=60)


class Now:
    """The time of the process that looks after texts."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def keys(namespace: str) -> Keyspace:
    return Keyspace(namespace)


@pytest.fixture
async def bus(redis_url: str, keys: Keyspace) -> AsyncIterator[Bus]:
    bus = Bus(redis_from_url(redis_url), keys, LIMITS)
    yield bus
    await bus.aclose()


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def texts(bus: Bus, keys: Keyspace, now: Now) -> Texts:
    return Texts(bus, keys, LIMITS, max_bytes=1_000, lease_seconds=10, clock=now)


@pytest.fixture
def carry(texts: Texts) -> Carrier:
    return texts.carrier("answer.1", "answer", "a")


async def pieces(bus: Bus, since: int = 0) -> list[Piece]:
    (page,) = await bus.history([(TOPIC, since)], limit=100, broken_too=True)
    return [piece_of(event) for event in page.events]


async def floor(bus: Bus) -> int:
    (page,) = await bus.history([(TOPIC, 0)], limit=100, broken_too=True)
    return page.floor


async def other(bus: Bus) -> int:
    (published,) = await bus.publish([Publication(TOPIC, "other", b"1")])
    return published.id  # type: ignore[union-attr]


async def test_the_log_has_one_event_with_everything_so_far(bus: Bus, carry: Carrier) -> None:
    await carry(Step(1))
    await carry(Step(2, rb"Say \"hi"))
    await carry(Step(3, '\\", grüß'.encode()))
    assert await pieces(bus) == [Piece("a", 3, True, "writing", 'Say "hi", grüß')]
    await carry(Step(4, b"!", "done"))
    assert await pieces(bus) == [Piece("a", 4, True, "done", 'Say "hi", grüß!')]


async def test_subscribers_get_each_piece_alone(
    bus: Bus, carry: Carrier, keys: Keyspace, redis_url: str
) -> None:
    redis = Redis.from_url(redis_url)
    heard = redis.pubsub()
    await heard.subscribe(keys.channel(TOPIC.stream))
    await heard.get_message(timeout=10)
    await carry(Step(1, b"Hel"))
    await carry(Step(2, b"lo", "done"))
    events: list[Event] = []
    while len(events) < 2:
        message = await heard.get_message(ignore_subscribe_messages=True, timeout=10)
        assert message is not None
        events.append(parse_message(TOPIC, message["data"]))
    assert [event.of_text and event.history for event in events] == [True, True]
    assert [piece_of(event) for event in events] == [
        Piece("a", 1, True, "writing", "Hel"),
        Piece("a", 2, False, "done", "lo"),
    ]
    assert events[1].prev == events[0].id
    await heard.aclose()
    await redis.aclose()


async def test_a_piece_that_is_sent_again_changes_nothing(bus: Bus, carry: Carrier) -> None:
    await carry(Step(1, b"a"))
    assert await carry(Step(2, b"b")) == await carry(Step(2, b"b")) == Standing("writing")
    assert [piece.text for piece in await pieces(bus)] == ["ab"]
    assert await carry(Step(3, b"", "done")) == await carry(Step(3, b"", "done"))


async def test_a_piece_that_does_not_follow_is_refused(carry: Carrier) -> None:
    assert await carry(Step(2, b"b")) == Standing(None)
    await carry(Step(1, b"a"))
    with pytest.raises(MissingPieces, match="expected piece 2"):
        await carry(Step(3, b"c"))


async def test_a_text_that_is_too_large_fails(bus: Bus, carry: Carrier) -> None:
    await carry(Step(1, b"a" * 900))
    assert await carry(Step(2, b"a" * 101)) == Standing("failed", "too_large")
    (piece,) = await pieces(bus)
    assert (piece.state, piece.reason, len(piece.text)) == ("failed", "too_large", 900)


async def test_stopping_tells_clients_and_the_producer(
    bus: Bus, texts: Texts, carry: Carrier
) -> None:
    await carry(Step(1, b"a"))
    assert await texts.stop(TOPIC, "a") == Standing("stopped")
    assert [piece.state for piece in await pieces(bus)] == ["stopped"]
    assert await carry(Step(2, b"b")) == Standing("stopped")
    assert await carry(Step()) == Standing("stopped")
    assert [piece.text for piece in await pieces(bus)] == ["a"]
    assert await texts.stop(TOPIC, "unknown") == Standing(None)


async def test_the_text_of_a_silent_producer_fails(
    bus: Bus, keys: Keyspace, now: Now, redis_url: str
) -> None:
    texts = Texts(bus, keys, LIMITS, max_bytes=1_000, lease_seconds=0.2, clock=now)
    await texts.carrier("answer.1", "answer", "a")(Step(1, b"a"))
    assert await texts.end_silent() == 0  # not due yet
    ended = 0
    while not ended:
        now.seconds += 1
        ended = await texts.end_silent()
    (piece,) = await pieces(bus)
    assert (piece.state, piece.reason, piece.text) == ("failed", "lost", "a")
    redis = Redis.from_url(redis_url)
    assert await redis.zcard(keys.open_texts) == 0
    await redis.aclose()


async def test_a_producer_that_lives_is_left_alone(texts: Texts, carry: Carrier, now: Now) -> None:
    await carry(Step(1, b"a"))
    for _ in range(3):
        now.seconds += 100
        assert await texts.end_silent() == 0
        assert await carry(Step()) == Standing("writing")


async def test_the_log_reaches_as_far_back_as_without_the_text(bus: Bus, carry: Carrier) -> None:
    before = await other(bus)
    await bus.publish([Publication(TOPIC, "other", b"2")])
    reached = await floor(bus)
    for seq in range(1, 5):
        await carry(Step(seq, b"x"))
        assert await floor(bus) == reached < before


async def test_the_log_of_a_text_alone_reaches_back_to_its_beginning(
    bus: Bus, carry: Carrier
) -> None:
    await carry(Step(1, b"x"))
    reached = await floor(bus)
    for seq in range(2, 5):
        await carry(Step(seq, b"x"))
        assert await floor(bus) == reached
    later = await other(bus)
    assert await floor(bus) == reached
    await carry(Step(5, b"x"))  # now the other event comes first
    assert await floor(bus) == reached
    (page,) = await bus.history([(TOPIC, reached)], limit=100)
    assert [event.id == later for event in page.events] == [True, False]


async def test_two_texts_of_one_topic_grow_side_by_side(bus: Bus, texts: Texts) -> None:
    first, second = (texts.carrier("answer.1", "answer", name) for name in ("a", "b"))
    await first(Step(1, b"1"))
    await second(Step(1, b"2"))
    await first(Step(2, b"1"))
    assert [(piece.stream, piece.text) for piece in await pieces(bus)] == [("b", "2"), ("a", "11")]


async def test_the_newest_events_hold_whole_texts(bus: Bus, carry: Carrier) -> None:
    await carry(Step(1, b"a"))
    await carry(Step(2, b"b"))
    (page,) = await bus.newest([TOPIC], limit=1)
    assert [piece_of(event).text for event in page.events] == ["ab"]


async def test_a_text_that_redis_has_lost_counts_as_a_loss(
    bus: Bus, carry: Carrier, keys: Keyspace, redis_url: str
) -> None:
    await carry(Step(1, b"a"))
    redis = Redis.from_url(redis_url)
    await redis.delete(keys.text(TOPIC.stream, "a"))
    await redis.aclose()
    (page,) = await bus.history([(TOPIC, 0)], limit=100, broken_too=True)
    assert (page.events, page.floor == page.last) == ([], True)


async def test_a_producer_cannot_pass_an_event_off_as_a_piece(bus: Bus) -> None:
    data = msgspec.json.encode(Piece("a", 1, True, "done", "x"))
    await bus.publish([Publication(TOPIC, "answer", b"\t" + data)])
    (page,) = await bus.history([(TOPIC, 0)], limit=100, broken_too=True)
    assert [event.of_text for event in page.events] == [False]


async def test_a_topic_without_history_takes_no_text(bus: Bus, keys: Keyspace) -> None:
    rules = TopicRules(topics=[{"pattern": "cursor.*", "history": False}])  # type: ignore[list-item]
    limits = HistoryLimits(1_000, 60, 60, rules)
    texts = Texts(bus, keys, limits, max_bytes=1_000, lease_seconds=10)
    with pytest.raises(InvalidText, match=r"cursor\.1: a rule gives it none"):
        texts.carrier("cursor.1", "answer", "a")
    with pytest.raises(InvalidText, match="expected a name"):
        texts.carrier("answer.1", "answer", "a b")
