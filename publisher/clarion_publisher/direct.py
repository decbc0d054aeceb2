"""Publishes straight onto Redis, in a producer's own process: what `clarion.publisher` does there.

It takes the same requests as the HTTP API and gives the same answers, so that a producer changes
only the URL. Nothing checks tokens: whoever reaches Redis may do anything.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from prometheus_client import CollectorRegistry

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.identity.claims import Claims
from clarion_contract.service.settings import variable
from clarion_publisher.ingestion.admission import Admission
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import Ingestion, Outcome
from clarion_publisher.ingestion.rate_limit import RateLimit
from clarion_publisher.ingestion.refusal import Refusal, bus_failure
from clarion_publisher.ingestion.tracing import PublishTracer
from clarion_publisher.metrics import Metrics
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.decoder import decode_body
from clarion_publisher.sources.http.problems import document_of, problem_of, row_of
from clarion_publisher.sources.http.schemas import (
    BatchReceipt,
    BatchResult,
    NamedAudience,
    Receipt,
    WritePiece,
)
from clarion_publisher.sources.http.schemas import audience_of as audience_in
from clarion_publisher.sources.http.texts import texts_of

POSITION: Final = "/v1/position"
_TEXT: Final = re.compile(r"/v1/topics/([^/]+)/texts/([^/]+?)(/stop)?")
BATCH: Final = "/v1/events:batch"


class _Event(msgspec.Struct):
    """An event as `clarion.publisher` writes it. `Admission` checks the fields."""

    audience: str | NamedAudience
    type: str
    data: msgspec.Raw
    key: str | None = None
    exclude: str | None = None
    history: bool = True

    def incoming(self) -> IncomingEvent:
        return IncomingEvent(
            audience_in(self.audience),
            self.type,
            bytes(self.data),
            self.key,
            self.exclude,
            self.history,
        )


class _Batch(msgspec.Struct):
    events: list[_Event]


class Direct:
    """A publisher without a service. Its namespace, history and limits are those of the variables
    ``CLARION_*`` and ``PUBLISHER_*``, which must be the services' own.

    Raises:
        ValueError: the URL or a variable is wrong.
    """

    def __init__(self, redis_url: str) -> None:
        given: dict[str, Any] = {
            "redis_url": redis_url,
            # Tokens are not verified, but the settings insist on one way to do it.
            "jwt_secret": secrets.token_urlsafe(32),
            "jwt_public_key": None,
            "jwt_jwks_url": None,
        }
        settings = PublisherSettings(
            **{variable(PublisherSettings, name): value for name, value in given.items()}
        )
        self._bus = Bus(
            redis_from_url(settings.redis_address),
            settings.keyspace,
            settings.history,
            settings.replication,
        )
        self._queue = PublishQueue(self._bus, max_pending=settings.max_pending)
        rate_limit = RateLimit(events_per_second=0, burst_events=0)
        self._texts = texts_of(settings, self._bus, rate_limit)
        self._ingestion = Ingestion(
            Admission(data_max_bytes=settings.data_max_bytes),
            rate_limit,
            self._queue,
            PublishTracer(None),
            Metrics(CollectorRegistry()),
        )
        self._running: asyncio.Task[None] | None = None

    async def ask(
        self, path: str, body: bytes, caller: Claims, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """The status and the content with which the HTTP API would answer this request."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._queue.run(), name="clarion-publish-queue")
        text = _TEXT.fullmatch(path)
        if text is not None:
            return await self._write(caller, text, body)
        try:
            if path == POSITION:
                return 200, msgspec.json.encode({"id": str(await self._bus.position())})
            if path == BATCH:
                events = msgspec.json.decode(body, type=_Batch).events
                outcomes = await self._publish(events, caller, headers)
                return 207, msgspec.json.encode(BatchReceipt([_result(each) for each in outcomes]))
            event = msgspec.json.decode(body, type=_Event)
            (outcome,) = await self._publish([event], caller, headers)
        except BusUnavailable as error:
            outcome = bus_failure(error, "Redis does not answer; try again")
        if isinstance(outcome, Refusal):
            return row_of(outcome).status, document_of(outcome)
        receipt = Receipt(str(outcome.id), outcome.duplicate, outcome.gateways)
        return 201, msgspec.json.encode(receipt)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        try:
            if self._running is not None:
                self._running.cancel()
                await asyncio.wait([self._running])
        finally:  # also if it is cancelled itself
            await self._bus.aclose()

    async def _write(self, caller: Claims, text: re.Match[str], body: bytes) -> tuple[int, bytes]:
        topic, name = unquote(text[1]), text[2]
        try:
            if text[3]:
                status = await self._texts.stop(caller, topic, name)
            else:
                piece = decode_body(WritePiece, body)
                status = await self._texts.write(caller, topic, name, piece)
        except Refusal as refusal:
            return row_of(refusal).status, document_of(refusal)
        return 200, msgspec.json.encode(status)

    async def _publish(
        self, events: Sequence[_Event], caller: Claims, headers: Mapping[str, str]
    ) -> list[Outcome]:
        trace = headers.get("traceparent")
        return await self._ingestion.publish(
            caller,
            [event.incoming() for event in events],
            traceparent=trace.encode() if trace else None,
        )


def _result(outcome: Outcome) -> BatchResult:
    if isinstance(outcome, Refusal):
        return BatchResult(row_of(outcome).status, problem=problem_of(outcome))
    return BatchResult(201, str(outcome.id), outcome.duplicate, outcome.gateways)
