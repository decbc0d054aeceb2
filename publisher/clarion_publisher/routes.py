"""The two ways to publish: one event, or a batch.

A `Route` owns what both share: identify the caller, read the body, answer, measure. What happens
in between is a handler's: decode, admit, publish.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from clarion_contract.bus.bus import Answer as BusAnswer
from clarion_contract.bus.bus import Published
from clarion_contract.bus.publish_queue import PublishQueue, QueueFull
from clarion_contract.events.errors import IdempotencyKeyReused
from clarion_contract.events.event import KEY_MAX_CHARACTERS, Publication
from clarion_contract.identity.claims import Claims
from clarion_publisher.admission import Admission
from clarion_publisher.callers import Callers
from clarion_publisher.decoder import decode_batch, decode_event
from clarion_publisher.exchange import (
    Answer,
    Bodies,
    Disconnected,
    Headers,
    answered,
    read_headers,
    refused,
)
from clarion_publisher.metrics import Metrics
from clarion_publisher.problems import (
    BUS_UNAVAILABLE,
    INVALID_BATCH,
    KEY_REUSED,
    OVERLOADED,
    RETRY_SECONDS,
    FieldError,
    Refusal,
    invalid_event,
)
from clarion_publisher.rate_limit import RateLimit
from clarion_publisher.schemas import BatchReceipt, BatchResult, NewEvent, Receipt, UserAudience
from clarion_publisher.tracing import PublishTracer

EVENTS_PATH: Final = "/v1/events"
BATCH_PATH: Final = "/v1/events:batch"

# Printable ASCII, with spaces inside only.
HEADER_KEY_PATTERN: Final = rf"^[!-~]([ -~]{{0,{KEY_MAX_CHARACTERS - 2}}}[!-~])?$(?!\n)"
_HEADER_KEY: Final = re.compile(HEADER_KEY_PATTERN)

BATCH: Final = "batch"
UNKNOWN: Final = "unknown"
_PUBLISHED: Final = "published"
_DUPLICATE: Final = "duplicate"
_PARTIAL: Final = "partial"

Handle = Callable[[Claims, Headers, bytes], Awaitable[Answer]]


class Route:
    """One path's POST, as an ASGI app.

    Args:
        handle: what is the path's own.
        audience: metric label of what is refused before the handler has read it.
    """

    def __init__(
        self, handle: Handle, audience: str, callers: Callers, bodies: Bodies, metrics: Metrics
    ) -> None:
        self._handle = handle
        self._audience = audience
        self._callers = callers
        self._bodies = bodies
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = time.perf_counter()
        try:
            work = self._serve(scope, receive)
            answer = await answered(work, self._audience, scope)
        except Disconnected:
            return
        self._metrics.request(answer.outcome, answer.audience, time.perf_counter() - started)
        await answer.send(send)

    async def _serve(self, scope: Scope, receive: Receive) -> Answer:
        headers = read_headers(scope)
        caller = await self._callers.identify(headers.get(b"authorization"))
        with self._bodies.hold(caller) as body:
            return await self._handle(caller, headers, await body.read(headers, receive))


class Publishing:
    """The handlers."""

    def __init__(
        self,
        admission: Admission,
        rate_limit: RateLimit,
        queue: PublishQueue,
        tracer: PublishTracer,
        metrics: Metrics,
        *,
        batch_max_events: int,
    ) -> None:
        self._admission = admission
        self._rate_limit = rate_limit
        self._queue = queue
        self._tracer = tracer
        self._metrics = metrics
        self._batch_max_events = batch_max_events

    async def publish_event(self, caller: Claims, headers: Headers, body: bytes) -> Answer:
        """Publish one event: 201 with its receipt; 200 when its key was published before.

        Raises:
            Refusal: the body holds no event.
        """
        event = decode_event(body)
        audience = _kind(event)
        try:
            published = await self._publish_one(caller, headers, event)
        except Refusal as refusal:
            self._metrics.events({(refusal.row.name, audience): 1})
            return refused(refusal, audience)
        outcome = _DUPLICATE if published.duplicate else _PUBLISHED
        self._metrics.events({(outcome, audience): 1})
        receipt = Receipt(str(published.id), published.duplicate, published.gateways)
        return Answer(
            200 if published.duplicate else 201, msgspec.json.encode(receipt), outcome, audience
        )

    async def publish_batch(self, caller: Claims, headers: Headers, body: bytes) -> Answer:
        """Publish a batch: 200 when every event was, 207 when some were not.

        Raises:
            Refusal: the body holds no batch, or none of its events could be taken.
        """
        if b"idempotency-key" in headers:
            error = FieldError("/events", "a key in each event", "a header for all of them")
            raise Refusal(INVALID_BATCH, "a batch has no Idempotency-Key header", errors=[error])
        events = decode_batch(body, max_events=self._batch_max_events)
        self._rate_limit.take(caller.subject, len(events))
        with self._tracer.begin(headers.get(b"traceparent"), BATCH, events=len(events)) as span:
            admitted = [self._admit(caller, event, span.traceparent) for event in events]
            outcomes = await self._publish_admitted(admitted)
            if outcomes and all(_is_bus_unavailable(outcome) for outcome in outcomes):
                self._count(events, outcomes)
                raise bus_unavailable()
        self._count(events, outcomes)
        whole = all(isinstance(outcome, Published) for outcome in outcomes)
        receipt = BatchReceipt([_result(outcome) for outcome in outcomes])
        return Answer(
            200 if whole else 207,
            msgspec.json.encode(receipt),
            _PUBLISHED if whole else _PARTIAL,
            BATCH,
        )

    async def _publish_one(self, caller: Claims, headers: Headers, event: NewEvent) -> Published:
        key = choose_key(headers.get(b"idempotency-key"), event.key)
        self._rate_limit.take(caller.subject, 1)
        with self._tracer.begin(headers.get(b"traceparent"), _kind(event), events=1) as span:
            publication = self._admission.admit(caller, event, key=key, trace=span.traceparent)
            outcome = (await self._publish_all([publication]))[0]
            if isinstance(outcome, Refusal):
                raise outcome
            span.published(
                outcome.id,
                duplicate=outcome.duplicate,
                gateways=outcome.gateways,
                size_bytes=len(publication.data),
            )
            return outcome

    def _admit(
        self, caller: Claims, event: NewEvent | Refusal, trace: str | None
    ) -> Publication | Refusal:
        if isinstance(event, Refusal):
            return event
        try:
            return self._admission.admit(caller, event, key=event.key, trace=trace)
        except Refusal as refusal:
            return refusal

    async def _publish_admitted(
        self, admitted: list[Publication | Refusal]
    ) -> list[Published | Refusal]:
        """Publish what was admitted; each outcome stands in its event's place."""
        publications = [each for each in admitted if isinstance(each, Publication)]
        outcomes = iter(await self._publish_all(publications))
        return [each if isinstance(each, Refusal) else next(outcomes) for each in admitted]

    async def _publish_all(self, publications: list[Publication]) -> list[Published | Refusal]:
        try:
            answers = await self._queue.publish_all(publications)
        except QueueFull as error:
            raise Refusal(OVERLOADED, str(error), retry_after_seconds=RETRY_SECONDS) from None
        return [_outcome(answer) for answer in answers]

    def _count(self, events: list[NewEvent | Refusal], outcomes: list[Published | Refusal]) -> None:
        counts = Counter(
            (_label(outcome), _kind(event)) for event, outcome in zip(events, outcomes, strict=True)
        )
        self._metrics.events(counts)


def choose_key(header: bytes | None, key: str | None) -> str | None:
    """The idempotency key out of header and body.

    The header may be plain or, as draft-ietf-httpapi-idempotency-key-header has it, a quoted
    string (RFC 8941, section 3.3.3).

    Raises:
        Refusal: it is no key, or the two differ.
    """
    if header is None:
        return key
    text = header.decode("latin-1")
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _HEADER_KEY.match(text):
        expected = f"an Idempotency-Key header of 1 to {KEY_MAX_CHARACTERS} printable characters"
        raise invalid_event(FieldError("/key", expected, f"{len(text)} characters"))
    if key is not None and key != text:
        raise invalid_event(FieldError("/key", "the key of the Idempotency-Key header", "another"))
    return text


def bus_unavailable() -> Refusal:
    """The refusal of an event that the bus did not confirm."""
    return Refusal(
        BUS_UNAVAILABLE,
        "the bus did not confirm the event; sent again with the same idempotency key, it is "
        "published once, whether or not it was this time",
        retry_after_seconds=RETRY_SECONDS,
    )


def _outcome(answer: BusAnswer) -> Published | Refusal:
    if isinstance(answer, Published):
        return answer
    if isinstance(answer, IdempotencyKeyReused):
        return Refusal(KEY_REUSED, f"the key was used for another event, {answer.id}")
    return bus_unavailable()


def _result(outcome: Published | Refusal) -> BatchResult:
    if isinstance(outcome, Refusal):
        return BatchResult(outcome.row.status, problem=outcome.problem)
    status = 200 if outcome.duplicate else 201
    return BatchResult(status, str(outcome.id), outcome.duplicate, outcome.gateways)


def _label(outcome: Published | Refusal) -> str:
    if isinstance(outcome, Refusal):
        return outcome.row.name
    return _DUPLICATE if outcome.duplicate else _PUBLISHED


def _kind(event: NewEvent | Refusal) -> str:
    if isinstance(event, Refusal):
        return UNKNOWN
    return "user" if isinstance(event.audience, UserAudience) else event.audience


def _is_bus_unavailable(outcome: Published | Refusal) -> bool:
    return isinstance(outcome, Refusal) and outcome.row is BUS_UNAVAILABLE
