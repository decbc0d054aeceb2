"""Single events without a task: what `routes` does, for requests that need nothing special.

The event must be in JSON, from a caller whose token was verified a moment ago, and must pass every
check. Any other request goes to `routes`, which refuses it or does what is special. See
`clarion_contract.service.http_shortcut`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import structlog

from clarion_contract.service.http_shortcut import ShortAnswer
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import Ingestion, Outcome
from clarion_publisher.metrics import Metrics
from clarion_publisher.sources.http.body_budget import Share
from clarion_publisher.sources.http.callers import Callers
from clarion_publisher.sources.http.cloudevents import mode_of
from clarion_publisher.sources.http.exchange import Answer, Bodies, bug_in
from clarion_publisher.sources.http.routes import answer_to_one, event_of

_log = structlog.get_logger(__name__)

_JSON: Final = b"application/json"


class EventShortcut:
    """Publishes single events: a `clarion_contract.service.http_shortcut.Shortcut`."""

    def __init__(
        self,
        target: str,
        ingestion: Ingestion,
        callers: Callers,
        bodies: Bodies,
        metrics: Metrics,
    ) -> None:
        """Set up.

        Args:
            target: the path of single events, with the service's prefix.
        """
        self.targets = frozenset({target.encode()})
        self._ingestion = ingestion
        self._callers = callers
        self._bodies = bodies
        self._metrics = metrics

    def wants(self, headers: Mapping[bytes, bytes]) -> bool:
        """See `clarion_contract.service.http_shortcut.Shortcut`."""
        return (
            headers.get(b"content-type") == _JSON
            and b"content-encoding" not in headers
            and b"origin" not in headers
            and mode_of(headers) is None
            and self._callers.remembered(headers.get(b"authorization", b"")) is not None
        )

    def take(self, headers: Mapping[bytes, bytes], body: bytes, answer: ShortAnswer) -> bool:
        """See `clarion_contract.service.http_shortcut.Shortcut`."""
        started = time.perf_counter()
        caller = self._callers.remembered(headers[b"authorization"])
        if caller is None:
            return False
        share = self._bodies.share(caller)
        try:
            share.arrive(len(body))
            event = event_of(headers, body)
            waiting = _Waiting(event, share, answer, started, self._metrics)
            taken = self._ingestion.submit(
                caller, event, waiting.answered, traceparent=headers.get(b"traceparent")
            )
        except Exception:  # noqa: BLE001 - a refusal or a bug, for which `routes` has the answer
            taken = False
        if not taken:
            share.let_go()
        return taken


class _Waiting:
    """One event that waits for Redis."""

    __slots__ = ("_answer", "_event", "_metrics", "_share", "_started")

    def __init__(
        self,
        event: IncomingEvent,
        share: Share,
        answer: ShortAnswer,
        started: float,
        metrics: Metrics,
    ) -> None:
        self._event = event
        self._share = share
        self._answer = answer
        self._started = started
        self._metrics = metrics

    def answered(self, outcome: Outcome) -> None:
        """Answer the client. It is called from the queue, which no failure here may stop."""
        self._share.let_go()
        kind = self._event.audience.kind
        try:
            answer = answer_to_one(outcome, kind)
        except Exception:  # noqa: BLE001 - the edge: one request's bug is no other's
            _log.exception("request failed by a bug")
            answer = bug_in(kind)
        self._metrics.request(answer.outcome, kind, time.perf_counter() - self._started)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        self._answer.send(answer.status, answer.content_type, answer.body, answer.headers)
