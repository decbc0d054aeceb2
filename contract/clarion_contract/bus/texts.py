"""Growing texts in Redis: pieces are written, texts end, and those of dead producers are found.

`text.lua` does one step atomically. Handlers and the publisher write through this module; each
gateway looks after the texts whose producers are silent (`clarion_gateway.fleet.silent_texts`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from clarion_contract.bus.bus import ScriptingBus
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.declaration import Violation
from clarion_contract.events.event import InvalidEvent, check_type
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Call, Script
from clarion_contract.texts.piece import InvalidText, Piece, State, check_name
from clarion_contract.texts.writer import Carrier, Standing, Step

# Stands for all pieces when an event is compared with its declaration.
_FIRST: Final = msgspec.json.encode(Piece("a", 1, True, "writing", ""))
_UNKNOWN: Final = 2
_MISSING: Final = 3
_PIPELINE_MAX: Final = 500
# So many texts are looked after at once.
_DUE_MAX: Final = 200


class MissingPieces(ValueError):
    """A piece does not follow the newest one.

    Attributes:
        seq: the number of the newest one.
    """

    def __init__(self, seq: int) -> None:
        super().__init__(f"expected piece {seq + 1}")
        self.seq = seq


class Texts:
    """The growing texts of all topics.

    Args:
        max_bytes: the largest text, as it stands in JSON.
        lease_seconds: how long a producer may be silent.
        check: the faults of an event by its declaration; None: nothing is declared.
    """

    def __init__(
        self,
        bus: ScriptingBus,
        keyspace: Keyspace,
        limits: HistoryLimits,
        *,
        max_bytes: int,
        lease_seconds: float,
        check: Callable[[Audience, str, bytes], Sequence[Violation]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._keys = keyspace
        self._limits = limits
        self._max_bytes = max_bytes
        self._lease_seconds = lease_seconds
        self._check = check
        self._clock = clock
        self._script = Script("event.lua", "floor.lua", "text.lua")
        self._calls: list[tuple[Call, asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    def carrier(self, topic: str, type_: str, name: str) -> Carrier:
        """The way of one text's pieces into Redis.

        Raises:
            InvalidTopic: ``topic`` is no topic's name.
            InvalidType: ``type_`` cannot be an event's type.
            InvalidText: the name cannot be, or a rule says that the topic has no history.
            InvalidEvent: the events would not be as the catalogue declares them.
        """
        audience, name = topic_audience(topic), check_name(name)
        header = f"{check_type(type_)} - -"
        if not self._limits.of_stream(audience).max_events:
            raise InvalidText(f"expected a topic with history, got {topic}: a rule gives it none")

        wrong = self._check(audience, type_, _FIRST) if self._check is not None else ()
        if wrong:
            first = wrong[0]
            raise InvalidEvent(
                f"{type_}: expected {first.expected} at {first.pointer}, got {first.got}"
            )

        async def carry(step: Step) -> Standing:
            return await self.step(audience, name, step, header)

        return carry

    async def step(self, audience: Audience, name: str, step: Step, header: str = "") -> Standing:
        """Write a piece, or tell that the producer lives.

        Args:
            header: of the text's events, with the first piece.

        Raises:
            MissingPieces: there is no piece right before this one.
            BusUnavailable: Redis does not answer.
        """
        if step.seq == 1 or not step.seq:  # looked after before it begins, so that none is missed
            await self._watch(audience, name, self._lease_seconds)
        deed = "write" if step.seq else "beat"
        standing, _ = await self._run(audience, name, deed, step, header)
        if standing.state != "writing":
            await self._forget(audience, name)
        return standing

    async def stop(self, audience: Audience, name: str) -> Standing:
        """End a text as ``stopped``, whoever writes it; the producer learns of it in a second.

        Returns:
            Its state: another one than ``stopped`` if it had ended before.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        standing, _ = await self._run(audience, name, "end", Step(state="stopped"))
        await self._forget(audience, name)
        return standing

    async def end_silent(self) -> int:
        """End texts whose producers are silent, as ``failed``; returns how many.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        due = await self._bus.command(
            "ZRANGE",
            self._keys.open_texts,
            "-inf",
            f"{self._clock():.3f}",
            "BYSCORE",
            "LIMIT",
            0,
            _DUE_MAX,
        )
        ended = 0
        for member in cast("list[bytes]", due):
            name, _, topic = member.decode().partition(" ")
            audience = topic_audience(topic)
            step = Step(state="failed", reason="lost")
            standing, rest_seconds = await self._run(audience, name, "lost", step)
            if standing.state == "writing":
                await self._watch(audience, name, rest_seconds)
                continue
            await self._forget(audience, name)
            ended += standing.reason == "lost"
        return ended

    async def _run(
        self, audience: Audience, name: str, deed: str, step: Step, header: str = ""
    ) -> tuple[Standing, float]:
        """One step, in a pipeline with those that others take meanwhile."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.append((self._call(audience, name, deed, step, header), answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="clarion-texts")
        outcome, state, seq, reason, rest = await answer
        if outcome == _MISSING:
            raise MissingPieces(seq)
        known = None if outcome == _UNKNOWN else cast("State", state.decode())
        return Standing(known, reason.decode()), rest / 1000

    async def _send(self) -> None:
        """Send the steps that wait, pipeline by pipeline; ends when none is left."""
        try:
            while self._calls:
                taken = self._calls[:_PIPELINE_MAX]
                del self._calls[:_PIPELINE_MAX]
                try:
                    replies: list[Any] = await self._bus.run(
                        self._script, [call for call, _ in taken], replicated=True
                    )
                except Exception as error:  # noqa: BLE001 - those that wait get it
                    replies = [error] * len(taken)
                for (_, answer), reply in zip(taken, replies, strict=True):
                    _settle(answer, reply)
        finally:
            self._sender = None

    def _call(self, audience: Audience, name: str, deed: str, step: Step, header: str) -> Call:
        keys, stream = self._keys, audience.stream
        limits = self._limits.of_stream(audience)
        return (
            5,
            keys.log(stream),
            keys.meta(stream),
            keys.clock(stream),
            keys.text_state(stream, name),
            keys.text(stream, name),
            keys.channel(stream),
            keys.publish_command,
            keys.lane(stream),
            max(1, limits.max_events),
            self._limits.max_age_seconds * 1000,
            limits.max_age_seconds * 1000,
            header,
            name,
            deed,
            step.seq,
            step.piece,
            step.state,
            step.reason,
            self._max_bytes,
            round(self._lease_seconds * 1000),
            limits.keep_seconds * 1000,
        )

    async def _watch(self, audience: Audience, name: str, seconds: float) -> None:
        """Look after a text when its lease may have ended."""
        due = f"{self._clock() + max(seconds, 0.1):.3f}"
        member = f"{name} {audience.name}"
        await self._bus.command("ZADD", self._keys.open_texts, due, member)

    async def _forget(self, audience: Audience, name: str) -> None:
        await self._bus.command("ZREM", self._keys.open_texts, f"{name} {audience.name}")


def _settle(answer: asyncio.Future[Any], reply: object) -> None:
    if answer.done():
        return
    if isinstance(reply, Exception):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)
