"""What a producer writes to a growing text: rolled up, sent once, and ended in every case."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.texts.piece import InvalidText
from clarion_contract.texts.writer import Standing, Step, TextEnded, TextWriter


class Redis:
    """Keeps the pieces of one text, as `text.lua` does."""

    def __init__(self) -> None:
        self.pieces: list[Step] = []
        self.standing = Standing(None)
        self.failures = 0
        self.lost_answers = 0
        self.beats = 0

    async def carry(self, step: Step) -> Standing:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("away")
        self.beats += not step.seq
        if step.seq == len(self.pieces) + 1 and self.standing.state in {None, "writing"}:
            self.pieces.append(step)
            self.standing = Standing(step.state, step.reason)
        if self.lost_answers:
            self.lost_answers -= 1
            raise BusUnavailable("no answer")
        return self.standing

    def stop(self) -> None:
        self.standing = Standing("stopped")

    @property
    def text(self) -> str:
        return b"".join(piece.piece for piece in self.pieces).decode()

    async def has(self, text: str) -> None:
        while self.text != text:
            await asyncio.sleep(0.001)


@pytest.fixture
def redis() -> Redis:
    return Redis()


async def test_what_is_written_close_together_leaves_in_one_piece(redis: Redis) -> None:
    async with TextWriter(redis.carry, "a") as out:
        for letter in "Hello":
            await out.write(letter)
        await redis.has("Hello")
        await out.write(", you")
    assert [step.piece for step in redis.pieces] == [b"", b"Hello", b", you", b""]
    assert [step.seq for step in redis.pieces] == [1, 2, 3, 4]
    assert (redis.standing.state, out.state) == ("done", "done")


async def test_a_piece_is_encoded_for_json(redis: Redis) -> None:
    async with TextWriter(redis.carry) as out:
        await out.write('"\n\\')
    assert redis.text == r"\"\n\\"


async def test_an_error_in_the_block_fails_the_text_and_goes_on(redis: Redis) -> None:
    async def produce() -> None:
        async with TextWriter(redis.carry) as out:
            await out.write("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await produce()
    assert redis.standing == Standing("failed", "error")
    assert redis.text == "a"


async def test_a_cancelled_block_fails_the_text(redis: Redis) -> None:
    async def produce() -> None:
        async with TextWriter(redis.carry) as out:
            await out.write("a")
            await asyncio.Event().wait()

    task = asyncio.create_task(produce())
    await redis.has("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert redis.standing == Standing("failed", "cancelled")


async def test_a_stopped_text_leaves_its_block_while_that_waits(redis: Redis) -> None:
    async with TextWriter(redis.carry, lease_seconds=0.03) as out:
        redis.stop()
        await asyncio.Event().wait()  # the model is silent
    assert out.state == "stopped"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_stopped_text_leaves_its_block_while_that_writes(redis: Redis) -> None:
    async with TextWriter(redis.carry) as out:
        redis.stop()
        while True:
            await out.write("a")
            await asyncio.sleep(0)
    assert out.state == "stopped"
    await asyncio.sleep(0)


@pytest.mark.parametrize("writes", [True, False])
async def test_a_text_that_is_too_large_raises_in_the_block(redis: Redis, writes: bool) -> None:
    out = TextWriter(redis.carry, lease_seconds=0.03)

    async def produce() -> None:
        async with out:
            redis.standing = Standing("failed", "too_large")
            while writes:
                await out.write("a")
                await asyncio.sleep(0)
            await asyncio.Event().wait()

    with pytest.raises(TextEnded, match="too_large"):
        await produce()
    assert (out.state, out.reason) == ("failed", "too_large")


async def test_a_piece_whose_answer_was_lost_is_written_once(redis: Redis) -> None:
    async with TextWriter(redis.carry) as out:
        redis.lost_answers = 1
        await out.write("a")
        await redis.has("a")
        await out.write("b")
    assert redis.text == "ab"
    assert redis.standing.state == "done"


async def test_redis_may_be_away_for_a_while(redis: Redis) -> None:
    async with TextWriter(redis.carry) as out:
        redis.failures = 2
        await out.write("a")
    assert (redis.text, out.state) == ("a", "done")


async def test_redis_that_stays_away_ends_the_block(redis: Redis) -> None:
    out = TextWriter(redis.carry, lease_seconds=0.01)

    async def produce() -> None:
        async with out:
            redis.failures = 1_000_000
            await out.write("a")
            await asyncio.Event().wait()

    with pytest.raises(BusUnavailable):
        await produce()
    assert (out.state, out.reason) == ("failed", "lost")


async def test_a_silent_producer_says_that_it_lives(redis: Redis) -> None:
    async with TextWriter(redis.carry, lease_seconds=0.03):
        while redis.beats < 3:
            await asyncio.sleep(0.001)


async def test_an_application_may_fail_a_text_for_a_reason_of_its_own(redis: Redis) -> None:
    async with TextWriter(redis.carry) as out:
        await out.write("a")
        await out.fail("no_answer")
        with pytest.raises(TextEnded, match="failed \\(no_answer\\)"):
            await out.write("b")
    assert redis.standing == Standing("failed", "no_answer")
    with pytest.raises(InvalidText):
        async with TextWriter(Redis().carry) as out:
            await out.fail("No answer")


async def test_the_block_waits_when_too_much_is_unsent(redis: Redis) -> None:
    async with TextWriter(redis.carry) as out:
        for _ in range(10):
            await out.write("a" * 50_000)
            assert sum(map(len, out._waiting)) <= 128 * 1024
    assert len(redis.text) == 500_000


async def test_half_a_surrogate_pair_is_refused(redis: Redis) -> None:
    with pytest.raises(InvalidText, match="surrogate"):
        async with TextWriter(redis.carry) as out:
            await out.write("\ud83d")


def test_a_step_says_what_it_is() -> None:
    assert replace(Step(), seq=1) == Step(1, b"", "writing", "")
