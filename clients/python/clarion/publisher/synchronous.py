"""The publisher for threads: `Publisher`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import httpx

from clarion.publisher.background import Sender
from clarion.publisher.batches import Bounds, Submitted, Waiting, settle, trace_of
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
from clarion.publisher.direct import RedisThread
from clarion.publisher.events import NewEvent, Receipt, new_event
from clarion.publisher.problems import PublishError
from clarion.publisher.texts import Delivering, Text, deliver_stop, text_writer
from clarion.publisher.tokens import TokenSource
from clarion_contract.events.audience import Audience
from clarion_contract.texts.writer import FLUSH_SECONDS, Standing

AnyResult = TypeVar("AnyResult")


class Publisher:
    """Publishes events. Threads may share it; so may the children of a fork.

    Args:
        url: the publisher's address, such as ``http://publisher:8080``. Or Redis itself, such as
            ``redis://redis:6379/0``: that needs the extra ``server``, and the services' variables
            ``CLARION_*``, and checks no token.
        token: a `ServiceToken`, a function that returns a token, or a token.
        timeout_seconds: for each attempt.
        retry_seconds: no attempt begins later than this after the first one; 0: one attempt.
        bounds: of the batches that `submit` and `publish_batch` make.
        client: an `httpx.Client` to use, with its proxies and certificates; you close it.

    Raises:
        ValueError: ``url`` is not the URL of an HTTP server or a Redis.

    Example::

        with Publisher(url, token=ServiceToken(secret, "shop", ["publish:all"])) as publisher:
            publisher.publish(ALL, "price.changed", {"sku": 1, "cents": 990})
    """

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource,
        timeout_seconds: float = 10.0,
        retry_seconds: float = 30.0,
        bounds: Bounds | None = None,
        client: httpx.Client | None = None,
    ) -> None:
        self._with = Configuration(url, token, timeout_seconds, retry_seconds, bounds)
        self._given = client
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._direct: RedisThread | None = None
        self._sender: Sender | None = None
        self._process = 0

    def publish(
        self,
        audience: Audience,
        type_: str,
        data: Any = None,  # noqa: ANN401 - whatever has a JSON form
        *,
        key: str | None = None,
        exclude: str | None = None,
        history: bool = True,
    ) -> Receipt:
        """Publish one event; returns once Redis has it.

        Args:
            audience: see `NewEvent`, also for the other arguments.

        Raises:
            Problem: the publisher refused for good.
            Unavailable: no publisher confirmed in time; ``key`` of the error allows another try.
            TypeError: a part of ``data`` has no JSON form.

        Example: ``publisher.publish(user("alice"), "order.sent", order, key=f"{order.id}-sent")``
        """
        event = new_event(audience, type_, data, key, exclude, history=history)
        try:
            return self._run(deliver_one(self._with.attempts, event.encoded(), self._with.trace()))
        except PublishError as error:
            error.key = event.key
            raise

    def publish_batch(self, events: Sequence[NewEvent]) -> list[Receipt | PublishError]:
        """Publish events in their order, in as few requests as the bounds allow.

        It is not a transaction. Each event has its own result, a receipt or an error that is not
        raised.

        Raises:
            TypeError: a part of an event's data has no JSON form; nothing is published.

        Example: ``failed = [each for each in publisher.publish_batch(events)
        if isinstance(each, PublishError)]``
        """
        waiting: Waiting[Future[Receipt]] = Waiting(self._with.bounds, time.monotonic)
        promises = [Future[Receipt]() for _ in events]
        for submitted in map(self._with.submitted, events, promises):
            waiting.add(submitted)
        while batch := waiting.take():
            self._send(batch)
        return [cast("PublishError | None", each.exception()) or each.result() for each in promises]

    def submit(
        self,
        audience: Audience,
        type_: str,
        data: Any = None,  # noqa: ANN401 - whatever has a JSON form
        *,
        key: str | None = None,
        exclude: str | None = None,
        history: bool = True,
    ) -> Future[Receipt]:
        """Publish one event in the background, together with others; returns its future.

        A thread sends the events, in the order of the calls. If too many wait (`Bounds`), the call
        waits too. Events that fail are logged, also if nobody looks at their futures. `close` sends
        what still waits.

        Raises:
            TypeError: a part of ``data`` has no JSON form.

        Example: ``publisher.submit(topic("order.42"), "order.viewed", {"by": "alice"})``
        """
        event = new_event(audience, type_, data, key, exclude, history=history)
        submitted = self._with.submitted(event, Future[Receipt]())
        self._background().add(submitted)
        return submitted.promise

    def flush(self) -> None:
        """Wait until every submitted event has its result."""
        if self._sender is not None and self._process == os.getpid():
            self._sender.flush()

    def position(self) -> str:
        """A position of now, for a client that reads a state first and then follows events.

        See docs/publishing.md, "State first, then live".
        """
        return self._run(deliver_position(self._with.attempts))

    def stream(
        self,
        topic: str,
        type_: str = "text",
        *,
        id: str | None = None,  # noqa: A002 - as in the events
        flush_seconds: float = FLUSH_SECONDS,
    ) -> Text:
        """A text that grows while it is written: an answer, a log. Clients get it piece by piece.

            with publisher.stream("build.7", "log") as out:
                for line in build.stdout:
                    out.write(line)

        Args:
            topic: the name of a topic that has history.
            type_: of the text's events.
            id: the text's name, 1 to 64 letters, digits, ``-`` and ``_``. None: a random one.
            flush_seconds: the least time between two events. The publisher counts each as one.

        Raises:
            InvalidTopic: ``topic`` is no topic's name.
            InvalidText: ``id`` cannot be a name.
        """

        async def run(steps: Delivering) -> Standing:
            return await asyncio.to_thread(self._run, steps)

        return Text(text_writer(run, topic, type_, id, flush_seconds))

    def stop_stream(self, topic: str, id: str) -> str | None:  # noqa: A002
        """Stop a growing text, wherever its producer runs; clients are told at once.

        Returns:
            Its state: ``stopped``, or ``done`` or ``failed`` if it had ended before. None: there is
            no such text.
        """
        return self._run(deliver_stop(self._with.attempts, topic, id)).state

    def close(self) -> None:
        """Send what waits, then close the connections. A later call of `publish` opens new ones."""
        with self._lock:
            self._notice_fork()
            sender, self._sender = self._sender, None
        if sender is not None:
            sender.stop()
        with self._lock:
            http, self._http = self._http, None
            direct, self._direct = self._direct, None
        for each in (http, direct):
            if each is not None:
                each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, batch: Sequence[Submitted[Future[Receipt]]]) -> None:
        """Send a batch, and give each of its events its result."""
        if not batch:
            return
        encoded = [event.encoded for event in batch]
        outcomes = self._run(deliver_batch(self._with.attempts, encoded, trace_of(batch)))
        settle(batch, outcomes)

    def _run(self, steps: Generator[Ask | Pause, Answer | NoAnswer | None, AnyResult]) -> AnyResult:
        """Do what the delivery asks for, until it has a result."""
        came: Answer | NoAnswer | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                return cast("AnyResult", end.value)
            if isinstance(step, Pause):
                came = None
                time.sleep(step.seconds)
            else:
                came = self._ask(step)

    def _ask(self, ask: Ask) -> Answer | NoAnswer:
        try:
            token = self._token(fresh=ask.fresh)
            if self._with.is_redis:
                return self._redis().ask(ask, token)
            headers = headers_for(ask, token)
            url = f"{self._with.url}{ask.path}"
            timeout = self._with.timeout
            client = self._client()
            return answer_of(
                client.request(ask.method, url, content=ask.body, headers=headers, timeout=timeout)
            )
        except Exception as error:  # noqa: BLE001 - the network's, or the application's token source
            return no_answer(error)

    def _token(self, *, fresh: bool) -> str:
        source, kept = self._with.source, self._with.kept
        if isinstance(source, str):
            return source
        token = None if fresh else kept.current()
        if token is None:
            token = cast("str", source())
            kept.keep(token)
        return token

    def _client(self) -> httpx.Client:
        if self._given is not None:
            return self._given
        with self._lock:
            self._notice_fork()
            if self._http is None:
                self._http = httpx.Client(limits=self._with.limits, trust_env=self._with.trust_env)
            return self._http

    def _redis(self) -> RedisThread:
        with self._lock:
            self._notice_fork()
            if self._direct is None:
                self._direct = RedisThread(self._with.url)
            return self._direct

    def _background(self) -> Sender:
        with self._lock:
            self._notice_fork()
            if self._sender is None:
                self._sender = Sender(self._with.bounds, self._send)
            return self._sender

    def _notice_fork(self) -> None:
        """A child must not use its parent's sockets, and it has none of its parent's threads."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._http, self._direct, self._sender = None, None, None
