"""The metrics of Socket.IO's producers (docs/metrics.md).

They exist where PUBLISHER_SOCKETIO_REDIS_URL is set.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from clarion_publisher.sources.socketio.message import PRODUCERS, UNREADABLE

# The refusals of the ingestion with which a message is done.
_REFUSED: Final = ("invalid_event", "data_too_large", "insufficient_scope", "key_reused")


class SocketIoMetrics:
    """One pod's metrics of Socket.IO's producers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._received = Counter(
            "clarion_publisher_socketio_messages_total",
            "Messages of Socket.IO's producers that this pod has read, by producer.",
            ["producer"],
            registry=registry,
        )
        self._refused = Counter(
            "clarion_publisher_socketio_refused_total",
            "Messages of Socket.IO's producers that can never be published, by producer and "
            "reason.",
            ["producer", "reason"],
            registry=registry,
        )
        self._lost = Counter(
            "clarion_publisher_socketio_lost_total",
            "Messages of Socket.IO's producers known to be lost: trimmed from the stream before a "
            "publisher read them, or received on a channel by a publisher that ended.",
            ["producer"],
            registry=registry,
        )
        self._reading = Gauge(
            "clarion_publisher_socketio_reading",
            "1 while this pod is the one that reads what Socket.IO's producers write.",
            registry=registry,
        )
        self._lag = Gauge(
            "clarion_publisher_socketio_lag_seconds",
            "Age of the oldest entry of the stream that waits, 0 if none waits or another pod "
            "reads.",
            registry=registry,
        )
        self._errors = Counter(
            "clarion_publisher_socketio_errors_total",
            "Times the Redis of Socket.IO's producers could not be reached or used.",
            registry=registry,
        )
        for producer in PRODUCERS:
            self._received.labels(producer)
            self._lost.labels(producer)
            for reason in (*UNREADABLE, *_REFUSED):
                self._refused.labels(producer, reason)

    def received(self, producer: str) -> None:
        """A message has been read."""
        self._received.labels(producer).inc()

    def refused(self, producer: str, reason: str) -> None:
        """A message can never be published."""
        self._refused.labels(producer, reason).inc()

    def lost(self, producer: str, messages: int) -> None:
        """Messages are lost."""
        self._lost.labels(producer).inc(messages)

    def reading(self, yes: bool) -> None:
        """This pod has become the one that reads, or is it no more."""
        self._reading.set(yes)
        if not yes:
            self._lag.set(0)

    def lag(self, seconds: float) -> None:
        """The stream was looked at."""
        self._lag.set(seconds)

    def error(self) -> None:
        """Redis could not be reached or used."""
        self._errors.inc()
