"""Rolls up what a producer writes to a growing text, and sends it piece by piece.

A `TextWriter` stands behind ``context.stream(…)`` in handlers and ``publisher.stream(…)`` in
producers. It sends through a `Carrier`: to Redis, or to the HTTP API.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.texts.piece import State, check_name, check_reason, in_json

FLUSH_SECONDS: Final = 0.04
LEASE_SECONDS: Final = 10
MAX_BYTES: Final = 256 * 1024

# So much may wait to be sent before `write` waits.
_WAITING_MAX_BYTES: Final = 64 * 1024
# A text that is silent for so long gets an empty piece, so that history does not forget it.
_REFRESH_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 0.25
_RANDOM_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Step:
    """A piece on its way, or the news that the producer lives.

    Attributes:
        seq: the piece's number, from 1; 0: no piece.
        piece: as it stands within a JSON string.
    """

    seq: int = 0
    piece: bytes = b""
    state: State = "writing"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a text, after a step.

    Attributes:
        state: None: there is no such text, or no longer.
    """

    state: State | None
    reason: str = ""


Carrier = Callable[[Step], Awaitable[Standing]]
"""Takes a step to Redis. To take the same step twice is the same as once.

Raises `BusUnavailable` if the step may be tried again.
"""


def name_or_random(name: str | None) -> str:
    """Return ``name`` unchanged when it can be a text's name; None: make a random one.

    Raises:
        InvalidText: it cannot.
    """
    return secrets.token_urlsafe(_RANDOM_BYTES) if name is None else check_name(name)


class TextEnded(Exception):
    """A text has ended, so nothing more can be written.

    Attributes:
        state: ``stopped`` if somebody stopped it, ``failed`` if it was too large or its producer
            was silent for too long, ``done`` if its own block has been left.
        reason: see `clarion_contract.texts.piece.Piece`.
    """

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(f"the text has ended: {state}{reason and f' ({reason})'}")
        self.state = state
        self.reason = reason


class TextWriter:
    """A growing text that this process writes: an async context manager.

        async with context.stream("answer.42") as out:
            async for token in model(prompt):
                await out.write(token)

    Leaving the block ends the text as ``done``; an exception ends it as ``failed``, and goes on. If
    somebody stops the text, the block is cancelled at its next ``await`` and left without an error;
    ``out.state`` is then ``stopped``.

    Attributes:
        id: the text's name, which stands in each event as ``stream``.
        state: ``writing``, ``done``, ``failed`` or ``stopped``.
        reason: why it failed, in one word.
    """

    def __init__(
        self,
        carry: Carrier,
        name: str | None = None,
        *,
        flush_seconds: float = FLUSH_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.id = name_or_random(name)
        self.state: State = "writing"
        self.reason = ""
        self._carry = carry
        self._flush_seconds = flush_seconds
        self._lease_seconds = lease_seconds
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0  # and those of the piece that is on its way
        self._step: Step | None = None
        self._seq = 0
        self._sent = asyncio.Event()
        self._filled = asyncio.Event()
        self._failure: Exception | None = None
        self._sender: asyncio.Task[None] | None = None
        self._body: asyncio.Task[object] | None = None
        self._has_cancelled = False
        self._cancels_before = 0

    async def write(self, piece: str) -> None:
        """Append to the text. Pieces that come close together leave in one event.

        Args:
            piece: any text, such as a token or a line.

        Raises:
            TextEnded: the text has ended: somebody stopped it, or it is too large.
            BusUnavailable: Redis does not answer for so long that the text counts as failed.
            InvalidText: the piece has half a surrogate pair.
        """
        self._check()
        if not piece:
            return
        encoded = in_json(piece)
        self._waiting.append(encoded)
        self._waiting_bytes += len(encoded)
        self._filled.set()
        while self._waiting_bytes > _WAITING_MAX_BYTES and not self._has_ended:
            self._sent.clear()
            await self._sent.wait()
            self._check()

    async def fail(self, reason: str) -> None:
        """End the text as ``failed`` for a reason of the application's own: one word."""
        await self._end("failed", check_reason(reason))

    async def __aenter__(self) -> Self:
        self._body = asyncio.current_task()
        self._cancels_before = self._body.cancelling() if self._body is not None else 0
        self._seq = 1
        self._hear(await self._deliver(Step(1)))
        self._sender = asyncio.create_task(self._send_all(), name=f"clarion-text-{self.id}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        was_told = await self._take_back(error)
        if error is None:
            await self._end("done")
        elif isinstance(error, asyncio.CancelledError):
            await self._last_words("cancelled")
        else:
            await self._last_words("error")
        if was_told and self.state != "stopped":
            raise self._failure or TextEnded(self.state, self.reason)
        return self.state == "stopped" and (was_told or isinstance(error, TextEnded))

    async def _take_back(self, error: BaseException | None) -> bool:
        """Take back the cancellation of the block, as `asyncio.timeout` does.

        Returns:
            Whether the block was left for that alone.
        """
        if not self._has_cancelled or self._body is None:
            return False
        if not isinstance(error, asyncio.CancelledError):  # it has not come yet
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        others = self._body.uncancel()
        return isinstance(error, asyncio.CancelledError) and others <= self._cancels_before

    async def _last_words(self, reason: str) -> None:
        """Tell clients that the text failed; if Redis does not answer, its lease will end."""
        with contextlib.suppress(BusUnavailable, TextEnded):
            await self._end("failed", reason)

    async def _end(self, state: State, reason: str = "") -> None:
        sender, self._sender = self._sender, None
        if sender is not None:  # its step may be on its way: it is sent again below, unchanged
            sender.cancel()
            await asyncio.wait([sender])
        while (self._waiting or self._step) and not self._has_ended:
            await self._send()
        if not self._has_ended:
            self._seq += 1
            self._hear(await self._deliver(Step(self._seq, b"", state, reason)))

    async def _send_all(self) -> None:
        """Send what waits, at most once in the flush interval, and tell that the producer lives."""
        loop = asyncio.get_running_loop()
        beat_seconds = min(1.0, self._lease_seconds / 3)
        written = loop.time()
        try:
            while not self._has_ended:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(beat_seconds):
                        await self._filled.wait()
                if self._waiting or loop.time() - written > _REFRESH_SECONDS:
                    written = loop.time()
                    await self._send()
                    await asyncio.sleep(self._flush_seconds)
                else:
                    self._hear(await self._deliver(Step()))
        except Exception as error:  # noqa: BLE001 - the block gets it
            self._failure, self.state, self.reason = error, "failed", "lost"
        self._sent.set()
        if self._body is not None and self._sender is not None:
            self._has_cancelled = True
            self._body.cancel()

    async def _send(self) -> None:
        """Send what waits as one piece.

        If this is cancelled, the next call sends the same piece again: it may have arrived.
        """
        if self._step is None:
            self._filled.clear()
            self._step = Step(self._seq + 1, b"".join(self._waiting))
            self._waiting.clear()
        standing = await self._deliver(self._step)
        self._waiting_bytes -= len(self._step.piece)
        self._step = None
        self._seq += 1
        self._sent.set()
        self._hear(standing)

    async def _deliver(self, step: Step) -> Standing:
        """Take a step to Redis, again and again until the producer counts as lost.

        Raises:
            BusUnavailable: Redis does not answer for so long.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._lease_seconds
        while True:
            try:
                return await self._carry(step)
            except BusUnavailable:
                if loop.time() > until:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)

    def _hear(self, standing: Standing) -> None:
        if standing.state is None:
            self.state, self.reason = "failed", "lost"
        else:
            self.state, self.reason = standing.state, standing.reason

    @property
    def _has_ended(self) -> bool:
        return self.state != "writing"

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._has_ended:
            raise TextEnded(self.state, self.reason)
