"""Growing texts of producers: the steps of a `TextWriter` as requests, and a writer for threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import msgspec

from clarion.publisher.delivery import Answer, Ask, Attempts, NoAnswer, Pause
from clarion.publisher.events import read
from clarion.publisher.problems import Unavailable
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.topic import check_topic
from clarion_contract.texts.piece import State, check_name
from clarion_contract.texts.writer import Standing, Step, TextWriter, name_or_random

AnyResult = TypeVar("AnyResult")
Delivering = Generator[Ask | Pause, Answer | NoAnswer | None, Standing]
# The writer itself tries again.
_ONCE: Final = Attempts(0)


class _Status(msgspec.Struct):
    state: State | None
    reason: str = ""


def deliver_step(topic: str, type_: str, name: str, step: Step) -> Delivering:
    """Take one step of a text to the publisher.

    Raises:
        BusUnavailable: nobody confirmed it; taking it again is safe.
        PublishError: the publisher refuses.
    """
    text = msgspec.Raw(b'"%b"' % step.piece)
    body = {"seq": step.seq, "text": text, "state": step.state, "reason": step.reason}
    ask = Ask("POST", _path(topic, name), msgspec.json.encode({**body, "type": type_}))
    try:
        return _standing((yield from _ONCE.deliver(ask, _ONCE.begin())))
    except Unavailable as error:
        raise BusUnavailable(str(error)) from error


def deliver_stop(attempts: Attempts, topic: str, name: str) -> Delivering:
    """Stop a text."""
    ask = Ask("POST", f"{_path(topic, check_name(name))}/stop")
    return _standing((yield from attempts.deliver(ask, attempts.begin())))


def text_writer(
    run: Callable[[Delivering], Awaitable[Standing]],
    topic: str,
    type_: str,
    id_: str | None,
    flush_seconds: float,
) -> TextWriter:
    """A text whose pieces go to the publisher.

    Args:
        run: does what a delivery asks for.
        id_: the text's name; None: a random one.

    Raises:
        InvalidTopic: ``topic`` is no topic's name.
        InvalidText: ``id_`` cannot be a name.
    """
    check_topic(topic)
    name = name_or_random(id_)

    async def carry(step: Step) -> Standing:
        return await run(deliver_step(topic, type_, name, step))

    return TextWriter(carry, name, flush_seconds=flush_seconds)


def _path(topic: str, name: str) -> str:
    return f"/v1/topics/{quote(topic, safe='')}/texts/{name}"


def _standing(content: bytes) -> Standing:
    status = read(content, _Status)
    return Standing(status.state, status.reason)


class Text:
    """A growing text that a thread writes: a context manager. See `clarion.TextWriter`.

        with publisher.stream("build.7") as out:
            for line in build.stdout:
                out.write(line)

    If somebody stops the text, the next `write` leaves the block.
    """

    def __init__(self, writer: TextWriter) -> None:
        self._writer = writer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="clarion-text", daemon=True
        )

    @property
    def id(self) -> str:
        """The text's name."""
        return self._writer.id

    @property
    def state(self) -> State:
        """``writing``, ``done``, ``failed`` or ``stopped``."""
        return self._writer.state

    @property
    def reason(self) -> str:
        """Why it failed, in one word."""
        return self._writer.reason

    def write(self, piece: str) -> None:
        """Append to the text. See `clarion.TextWriter.write`."""
        self._wait(self._writer.write(piece))

    def fail(self, reason: str) -> None:
        """End the text as ``failed`` for a reason of the application's own: one word."""
        self._wait(self._writer.fail(reason))

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._wait(self._writer.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            return self._wait(self._writer.__aexit__(kind, error, traceback))
        finally:
            self._end()

    def _wait(self, work: Coroutine[Any, Any, AnyResult]) -> AnyResult:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
