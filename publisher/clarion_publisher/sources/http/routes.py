"""The ways to publish: one event, a batch, and CloudEvents of either kind.

A `Route` does what both share: it identifies the caller, reads the body, answers and measures. A
handler does the rest: it decodes the body, hands the events in, and answers with their outcomes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from clarion_contract.events.event import KEY_MAX_CHARACTERS, Published
from clarion_contract.identity.claims import Claims
from clarion_publisher.audience_rules import AudienceRules
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import BATCH, PUBLISHED, Ingestion, Outcome, label_of
from clarion_publisher.ingestion.refusal import FieldError, Refusal, invalid_event
from clarion_publisher.metrics import Metrics
from clarion_publisher.sources.http.callers import Callers
from clarion_publisher.sources.http.cloudevents import (
    Mode,
    decode_cloudevent,
    decode_cloudevents,
    mode_of,
)
from clarion_publisher.sources.http.decoder import decode_batch, decode_event
from clarion_publisher.sources.http.exchange import (
    Answer,
    Bodies,
    Disconnected,
    Headers,
    answered,
    read_headers,
    refused,
)
from clarion_publisher.sources.http.problems import INVALID_BATCH, HttpRefusal, problem_of, row_of
from clarion_publisher.sources.http.schemas import (
    BatchReceipt,
    BatchResult,
    NewEvent,
    Receipt,
    audience_of,
)

EVENTS_PATH: Final = "/v1/events"
BATCH_PATH: Final = "/v1/events:batch"

# Printable ASCII; spaces only between other characters.
HEADER_KEY_PATTERN: Final = rf"^[!-~]([ -~]{{0,{KEY_MAX_CHARACTERS - 2}}}[!-~])?$"
_HEADER_KEY: Final = re.compile(HEADER_KEY_PATTERN)

_PARTIAL: Final = "partial"

Handle = Callable[[Claims, Headers, bytes], Awaitable[Answer]]
HandleCloudEvents = Callable[[Mode, Claims, Headers, bytes], Awaitable[Answer]]


class Route:
    """One path's POST, as an ASGI app.

    Args:
        handle: the handler of this path.
        audience: metric label for requests refused before the handler has read them.
        cloudevents: the handler of CloudEvents; None: the path takes none.
    """

    def __init__(
        self,
        handle: Handle,
        audience: str,
        callers: Callers,
        bodies: Bodies,
        metrics: Metrics,
        *,
        cloudevents: HandleCloudEvents | None = None,
    ) -> None:
        self._handle = handle
        self._cloudevents = cloudevents
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
        mode = None if self._cloudevents is None else mode_of(headers)
        with self._bodies.hold(caller) as body:
            if mode is None or self._cloudevents is None:
                return await self._handle(caller, headers, await body.read(headers, receive))
            text = await body.read(headers, receive, json=False)
            return await self._cloudevents(mode, caller, headers, text)


class Publishing:
    """The handlers.

    Args:
        rules: for CloudEvents that name no audience.
    """

    def __init__(
        self, ingestion: Ingestion, *, batch_max_events: int, rules: AudienceRules
    ) -> None:
        self._ingestion = ingestion
        self._rules = rules
        self._batch_max_events = batch_max_events

    async def publish_event(self, caller: Claims, headers: Headers, body: bytes) -> Answer:
        """Publish one event: 201 with its receipt; 200 if its key was published before.

        Raises:
            Refusal: the body is not an event.
        """
        event = decode_event(body)
        try:
            incoming = _incoming(event, headers.get(b"idempotency-key"))
        except Refusal as refusal:
            return refused(refusal, audience_of(event.audience).kind)
        (outcome,) = await self._ingestion.publish(
            caller, (incoming,), traceparent=headers.get(b"traceparent")
        )
        return answer_to_one(outcome, incoming.audience.kind)

    async def publish_batch(self, caller: Claims, headers: Headers, body: bytes) -> Answer:
        """Publish a batch: 200 if all events were published, 207 if some were not.

        Raises:
            Refusal: the body is not a batch, or no event could be taken at the moment.
        """
        if b"idempotency-key" in headers:
            error = FieldError("/events", "a key in each event", "a header for all of them")
            detail = "a batch has no Idempotency-Key header"
            raise HttpRefusal(INVALID_BATCH, detail, errors=[error])
        events = [
            event if isinstance(event, Refusal) else _incoming(event)
            for event in decode_batch(body, max_events=self._batch_max_events)
        ]
        outcomes = await self._ingestion.publish(
            caller, events, traceparent=headers.get(b"traceparent")
        )
        return _answer_to_batch(outcomes)

    async def publish_cloudevents(
        self, mode: Mode, caller: Claims, headers: Headers, body: bytes
    ) -> Answer:
        """Publish one CloudEvent or a batch of them, with the same answers as for other events.

        Raises:
            Refusal: the body is no CloudEvent or no batch, or no event of the batch could be taken
                at the moment.
        """
        traceparent = headers.get(b"traceparent")
        if mode is Mode.BATCH:
            events = decode_cloudevents(
                headers, body, max_events=self._batch_max_events, rules=self._rules
            )
            outcomes = await self._ingestion.publish(caller, events, traceparent=traceparent)
            return _answer_to_batch(outcomes)
        event, own = decode_cloudevent(mode, headers, body, rules=self._rules)
        (outcome,) = await self._ingestion.publish(
            caller, (event,), traceparent=traceparent if own is None else own.encode()
        )
        return answer_to_one(outcome, event.audience.kind)


def choose_key(header: bytes | None, key: str | None) -> str | None:
    """The idempotency key from the header and the body.

    The header may be plain, or a quoted string (RFC 8941, section 3.3.3) as in
    draft-ietf-httpapi-idempotency-key-header.

    Raises:
        Refusal: the header is not a valid key, or header and body differ.
    """
    if header is None:
        return key
    text = header.decode("latin-1")
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _HEADER_KEY.fullmatch(text):
        expected = f"an Idempotency-Key header of 1 to {KEY_MAX_CHARACTERS} printable characters"
        raise invalid_event(FieldError("/key", expected, f"{len(text)} characters"))
    if key is not None and key != text:
        raise invalid_event(FieldError("/key", "the key of the Idempotency-Key header", "another"))
    return text


def event_of(headers: Headers, body: bytes) -> IncomingEvent:
    """The event of a request for a single one.

    Raises:
        Refusal: the body is not an event, or its key is not the header's.
    """
    return _incoming(decode_event(body), headers.get(b"idempotency-key"))


def _incoming(event: NewEvent, key: bytes | None = None) -> IncomingEvent:
    """The event that a caller sent.

    Args:
        key: the request's Idempotency-Key.

    Raises:
        Refusal: the key is not valid, or not the event's.
    """
    return IncomingEvent(
        audience_of(event.audience),
        event.type,
        bytes(event.data),
        event.key if key is None else choose_key(key, event.key),
        event.exclude,
        event.history,
    )


def answer_to_one(outcome: Outcome, kind: str) -> Answer:
    """The answer to a request for a single event."""
    if isinstance(outcome, Refusal):
        return refused(outcome, kind)
    receipt = Receipt(str(outcome.id), outcome.duplicate, outcome.gateways)
    return Answer(_status(outcome), msgspec.json.encode(receipt), label_of(outcome), kind)


def _answer_to_batch(outcomes: Sequence[Outcome]) -> Answer:
    _check_temporary(outcomes)
    whole = all(isinstance(outcome, Published) for outcome in outcomes)
    receipt = BatchReceipt([_result(outcome) for outcome in outcomes])
    return Answer(
        200 if whole else 207,
        msgspec.json.encode(receipt),
        PUBLISHED if whole else _PARTIAL,
        BATCH,
    )


def _check_temporary(outcomes: Sequence[Outcome]) -> None:
    """Refuse the whole request if every event may succeed later.

    Clients and proxies that know nothing of batches then retry the request.
    """
    first = outcomes[0] if outcomes else None
    if isinstance(first, Refusal) and all(
        isinstance(outcome, Refusal) and outcome.kind.retryable for outcome in outcomes
    ):
        raise first


def _result(outcome: Outcome) -> BatchResult:
    if isinstance(outcome, Refusal):
        return BatchResult(row_of(outcome).status, problem=problem_of(outcome))
    return BatchResult(_status(outcome), str(outcome.id), outcome.duplicate, outcome.gateways)


def _status(published: Published) -> int:
    return 200 if published.duplicate else 201
