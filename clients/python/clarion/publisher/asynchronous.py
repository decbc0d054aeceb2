"""The publisher for asyncio: `AsyncPublisher`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

from clarion.publisher.batches import (
    Bounds,
    Submitted,
    Waiting,
    fail,
    log_failures,
    settle,
    trace_of,
)
from clarion.publisher.connection import Configuration, answer_of, headers_for, no_answer
from clarion.publisher.delivery import (
    Answer,
    Ask,
    NoAnswer,
    Pause,
    deliver_batch,
    deliver_one,
    deliver_position,
)
from clarion.publisher.direct import Carrier, ask_redis, carrier_to
from clarion.publisher.events import NewEvent, Receipt, new_event
from clarion.publisher.problems import PublishError, Unavailable
from clarion.publisher.texts import deliver_stop, text_writer
from clarion.publisher.tokens import TokenSource
from clarion_contract.events.audience import Audience
from clarion_contract.texts.writer import FLUSH_SECONDS, TextWriter

AnyResult = TypeVar("AnyResult")
Submission = Submitted[asyncio.Future[Receipt]]


class AsyncPublisher:
    """Publishes events from one event loop. It has the methods of `Publisher`.

    Args:
        token: as for `Publisher`; a function may also be ``async``.
        client: an `httpx.AsyncClient` to use; you close it.

    The other arguments are those of `Publisher`.

    Example::

        async with AsyncPublisher(url, token=ServiceToken(secret, "shop", ["publish:all"])) as publisher:
            await publisher.publish(ALL, "price.changed", {"sku": 1, "cents": 990})
    """  # noqa: E501 - the example

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource,
        timeout_seconds: float = 10.0,
        retry_seconds: float = 30.0,
        bounds: Bounds | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._with = Configuration(url, token, timeout_seconds, retry_seconds, bounds)
        self._given = client
        self._http: httpx.AsyncClient | None = None
        self._direct: Carrier | None = None
        self._waiting: Waiting[asyncio.Future[Receipt]] = Waiting(self._with.bounds, _now)
        self._changed = asyncio.Condition()
        self._sender: asyncio.Task[None] | None = None

    async def publish(
        self,
        audience: Audience,
        type_: str,
        data: Any = None,  # noqa: ANN401 - whatever has a JSON form
        *,
        key: str | None = None,
        exclude: str | None = None,
        history: bool = True,
    ) -> Receipt:
        """Publish one event; returns once Redis has it. See `Publisher.publish`."""
        event = new_event(audience, type_, data, key, exclude, history=history)
        steps = deliver_one(self._with.attempts, event.encoded(), self._with.trace())
        try:
            return await self._run(steps)
        except PublishError as error:
            error.key = event.key
            raise

    async def publish_batch(self, events: Sequence[NewEvent]) -> list[Receipt | PublishError]:
        """Publish events in their order. See `Publisher.publish_batch`."""
        loop = asyncio.get_running_loop()
        waiting: Waiting[asyncio.Future[Receipt]] = Waiting(self._with.bounds, _now)
        promises: list[asyncio.Future[Receipt]] = [loop.create_future() for _ in events]
        for submitted in map(self._with.submitted, events, promises):
            waiting.add(submitted)
        while batch := waiting.take():
            await self._send(batch)
        return [cast("PublishError | None", each.exception()) or each.result() for each in promises]

    async def submit(
        self,
        audience: Audience,
        type_: str,
        data: Any = None,  # noqa: ANN401 - whatever has a JSON form
        *,
        key: str | None = None,
        exclude: str | None = None,
        history: bool = True,
    ) -> asyncio.Future[Receipt]:
        """Publish one event in the background; returns its future. See `Publisher.submit`."""
        event = new_event(audience, type_, data, key, exclude, history=history)
        promise: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        submitted = self._with.submitted(event, promise)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._waiting.is_full)
            self._waiting.add(submitted)
            self._changed.notify_all()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all(), name="clarion-publisher")
        return promise

    async def flush(self) -> None:
        """Wait until every submitted event has its result."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting.is_idle)

    async def position(self) -> str:
        """A position of now. See `Publisher.position`."""
        return await self._run(deliver_position(self._with.attempts))

    def stream(
        self,
        topic: str,
        type_: str = "text",
        *,
        id: str | None = None,  # noqa: A002 - as in the events
        flush_seconds: float = FLUSH_SECONDS,
    ) -> TextWriter:
        """A text that grows while it is written. See `Publisher.stream`.

        async with publisher.stream("answer.42", "answer") as out:
            async for token in model(prompt):
                await out.write(token)
        """
        return text_writer(self._run, topic, type_, id, flush_seconds)

    async def stop_stream(self, topic: str, id: str) -> str | None:  # noqa: A002
        """Stop a growing text. See `Publisher.stop_stream`."""
        return (await self._run(deliver_stop(self._with.attempts, topic, id))).state

    async def close(self) -> None:
        """Send what waits, then close the connections.

        If it is cancelled, what waits is not sent: the futures raise `Unavailable`.
        """
        async with contextlib.AsyncExitStack() as ending:  # runs all of it, even when cancelled
            ending.push_async_callback(self._close_connections)
            ending.push_async_callback(self._stop_sender)
            await self.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _stop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender])
        while rest := self._waiting.take():  # `close` was cancelled
            _give_up(rest)
            log_failures(rest)
        await self._done()

    async def _close_connections(self) -> None:
        http, self._http = self._http, None
        direct, self._direct = self._direct, None
        for each in (http, direct):
            if each is not None:
                await each.aclose()

    async def _send_all(self) -> None:
        """Send batches one after the other, so that events keep their order."""
        while True:
            async with self._changed:
                while (seconds := self._waiting.wait_seconds()) != 0.0:
                    try:
                        async with asyncio.timeout(seconds):
                            await self._changed.wait()
                    except TimeoutError:
                        continue
                batch = self._waiting.take()
            batch = [event for event in batch if not event.promise.cancelled()]
            try:
                await self._send(batch)
            except asyncio.CancelledError:  # it may have been sent
                _give_up(batch)
                raise
            except Exception as error:  # noqa: BLE001 - the futures carry it, and it is logged
                fail(batch, error)
            finally:
                log_failures(batch)
            await self._done()

    async def _done(self) -> None:
        """The batch that was taken has its results."""
        async with self._changed:
            self._waiting.done()
            self._changed.notify_all()

    async def _send(self, batch: Sequence[Submission]) -> None:
        """Send a batch, and give each of its events its result."""
        if not batch:
            return
        encoded = [event.encoded for event in batch]
        outcomes = await self._run(deliver_batch(self._with.attempts, encoded, trace_of(batch)))
        settle(batch, outcomes)

    async def _run(
        self, steps: Generator[Ask | Pause, Answer | NoAnswer | None, AnyResult]
    ) -> AnyResult:
        """Do what the delivery asks for, until it has a result."""
        came: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                return cast("AnyResult", end.value)
            if isinstance(step, Pause):
                came = None
                await asyncio.sleep(step.seconds)
            else:
                came = await self._ask(step)

    async def _ask(self, ask: Ask) -> Answer | NoAnswer:
        try:
            token = await self._token(fresh=ask.fresh)
            if self._with.is_redis:
                return await ask_redis(self._redis(), ask, token)
            headers = headers_for(ask, token)
            url = f"{self._with.url}{ask.path}"
            timeout = self._with.timeout
            client = self._client()
            return answer_of(
                await client.request(
                    ask.method, url, content=ask.body, headers=headers, timeout=timeout
                )
            )
        except Exception as error:  # noqa: BLE001 - the network's, or the application's token source
            return no_answer(error)

    async def _token(self, *, fresh: bool) -> str:
        source, kept = self._with.source, self._with.kept
        if isinstance(source, str):
            return source
        token = None if fresh else kept.current()
        if token is None:
            made = source()
            token = await made if inspect.isawaitable(made) else made
            kept.keep(token)
        return token

    def _redis(self) -> Carrier:
        if self._direct is None:
            self._direct = carrier_to(self._with.url)
        return self._direct

    def _client(self) -> httpx.AsyncClient:
        if self._given is not None:
            return self._given
        if self._http is None:
            self._http = httpx.AsyncClient(limits=self._with.limits, trust_env=self._with.trust_env)
        return self._http


def _give_up(batch: Sequence[Submission]) -> None:
    closed = "the publisher was closed before the event was confirmed"
    settle(batch, [Unavailable(closed) for _ in batch])


def _now() -> float:
    return asyncio.get_running_loop().time()
