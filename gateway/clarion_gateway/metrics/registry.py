"""All Prometheus metrics of the gateway (docs/metrics.md).

Clients cannot make up values of labels. Counting happens per round and per outcome, never per
delivery. This module imports no other part of the gateway.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from clarion_contract.events.errors import Fault
from clarion_contract.events.event import Event
from clarion_contract.service.declaring import CatalogueMetrics
from clarion_contract.service.faults import fault_gauge, observe_faults
from clarion_gateway.metrics.histogram import BulkHistogram
from clarion_gateway.metrics.upstream import UpstreamMetrics

_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WIRES: Final = ("websocket", "websocket-deflate", "sse", "socketio")
_TRANSPORTS: Final = ("polling", "websocket")
_IDENTITIES: Final = ("anonymous", "authenticated")
# The outcomes of a client's message. `refused` stands for all codes of the application's own.
MESSAGE_OUTCOMES: Final = (
    "handled",
    "internal",
    "invalid",
    "invalid_text",
    "malformed",
    "rate_limited",
    "refused",
    "timeout",
    "unauthenticated",
    "unavailable",
    "unknown_type",
)
POST_OUTCOMES: Final = (
    "answered", "forbidden_origin", "inbound_full", "issued_too_soon", "malformed", "no_answer",
    "other_user", "rate_limited", "revoked", "too_large", "unauthenticated", "unavailable",
    "unknown_connection",
)  # fmt: skip
# What the application's functions for connecting and ended clients came to.
_HOOKS: Final = (
    ("connect", "done"), ("connect", "refused"), ("connect", "internal"), ("connect", "timeout"),
    ("connect", "unavailable"), ("disconnect", "done"), ("disconnect", "internal"),
    ("disconnect", "timeout"), ("subscribe", "done"), ("subscribe", "refused"),
    ("subscribe", "internal"), ("subscribe", "timeout"), ("subscribe", "unavailable"),
)  # fmt: skip
_ASKS: Final = (
    "answered", "refused", "timeout", "closed", "unsupported", "too_early", "too_many_asks",
    "unasked",
)  # fmt: skip
_COUNTS: Final = (1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536)


class Metrics:
    """The metrics of one pod, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.ready = Gauge("clarion_ready", "1 while /readyz says so.", registry=registry)
        self.handshakes = Counter(
            "clarion_handshakes_total",
            "Connections asked for, by wire and outcome.",
            ["wire", "outcome"],
            registry=registry,
        )
        self.handshake_seconds = BulkHistogram(
            "clarion_handshake_duration_seconds", "From the request to welcome.", _SECONDS
        )
        registry.register(self.handshake_seconds)
        self.tokens_refused = Counter(
            "clarion_tokens_refused_total",
            "Tokens that identified nobody, by reason.",
            ["reason"],
            registry=registry,
        )
        self.identities = Counter(
            "clarion_identity_changes_total",
            "Log-ins, refreshes and log-outs on open connections.",
            ["change"],
            registry=registry,
        )
        self.closes = Counter(
            "clarion_closes_total",
            "Connections closed, by close code and reason.",
            ["code", "reason"],
            registry=registry,
        )
        self.slow_consumers = Counter(
            "clarion_slow_consumers_total",
            "Connections closed because they did not take what was sent.",
            registry=registry,
        )
        self.messages = Counter(
            "clarion_messages_received_total",
            "Messages from clients, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.posts = Counter(
            "clarion_posts_total",
            "Messages that clients of event streams sent by POST, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.posts_relayed = Counter(
            "clarion_posts_relayed_total",
            "Messages by POST that came to another pod than the one with the stream.",
            registry=registry,
        )
        self.handler_seconds = Histogram(
            "clarion_handler_duration_seconds",
            "Time that handlers took.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.asks = Counter(
            "clarion_asks_total",
            "Questions of the application to clients, and answers that nobody waited for, by "
            "outcome.",
            ["outcome"],
            registry=registry,
        )
        self.hooks = Counter(
            "clarion_hooks_total",
            "Functions of the application that ran for clients that connect or subscribe, and for "
            "connections that have ended, by outcome.",
            ["hook", "outcome"],
            registry=registry,
        )
        self.events = Counter(
            "clarion_events_received_total",
            "Events received from the bus, by audience.",
            ["audience"],
            registry=registry,
        )
        self.deliveries = Counter(
            "clarion_deliveries_total",
            "Events written to connections, by audience and wire.",
            ["audience", "wire"],
            registry=registry,
        )
        self.delivered_bytes = Counter(
            "clarion_delivered_bytes_total",
            "Bytes of events written to connections.",
            registry=registry,
        )
        self.round_seconds = Histogram(
            "clarion_fanout_duration_seconds",
            "Time of a delivery round: all its writes.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.round_recipients = Histogram(
            "clarion_fanout_recipients",
            "Connections written to in a delivery round.",
            buckets=_COUNTS,
            registry=registry,
        )
        self.round_events = Histogram(
            "clarion_fanout_events",
            "Events that left together in a delivery round.",
            buckets=_COUNTS,
            registry=registry,
        )
        self.publish_to_write_seconds = BulkHistogram(
            "clarion_publish_to_write_seconds",
            "From an event's id (Redis' clock) to the end of the round that wrote it: what users "
            "feel.",
            _SECONDS,
        )
        registry.register(self.publish_to_write_seconds)
        self.resumes = Counter(
            "clarion_resumes_total",
            "Clients that named a position, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.resume_reads = Counter(
            "clarion_resume_sources_total",
            "Where events of all and authenticated were found for clients that resumed.",
            ["source"],
            registry=registry,
        )
        self.topics_refused = Counter(
            "clarion_topics_refused_total",
            "Topics that clients asked for and do not receive, by reason.",
            ["reason"],
            registry=registry,
        )
        self.texts_lost = Counter(
            "clarion_texts_lost_total",
            "Growing texts that this pod ended because their producers were silent.",
            registry=registry,
        )
        self.topic_changes = Counter(
            "clarion_topic_changes_total",
            "Topics that open connections began to receive, or gave up, by messages or by orders.",
            ["change"],
            registry=registry,
        )
        self.topic_presence = Counter(
            "clarion_topic_presence_deliveries_total",
            "Messages about the members of a topic, over all connections.",
            registry=registry,
        )
        self.topics_not_resumed = Counter(
            "clarion_topics_not_resumed_total",
            "Topics of clients that resumed whose history did not reach back to the position.",
            registry=registry,
        )
        self.gaps = Counter(
            "clarion_gaps_total",
            "Gaps in a stream, by outcome: repaired from the log, or lost.",
            ["outcome"],
            registry=registry,
        )
        self.orders = Counter(
            "clarion_orders_total",
            "Orders of publishers that the pod has carried out, by kind.",
            ["order"],
            registry=registry,
        )
        self.presence_writes = Counter(
            "clarion_presence_writes_total",
            "Round trips that told Redis who is connected, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.rebalanced = Counter(
            "clarion_rebalanced_total",
            "Connections sent elsewhere because the pod held far more than the mean.",
            registry=registry,
        )
        self.bus_messages_invalid = Counter(
            "clarion_bus_messages_invalid_total",
            "Messages on the bus that are no events.",
            registry=registry,
        )
        self.bus_connects = Counter(
            "clarion_bus_connects_total",
            "Attempts to connect the subscription, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.job_failures = Counter(
            "clarion_job_failures_total",
            "Background jobs that raised and were started anew, and handshakes and messages that "
            "did, by task. Each is a bug.",
            ["task"],
            registry=registry,
        )
        self.requests_refused = Counter(
            "clarion_http_requests_refused_total",
            "Requests refused before they reached a handler, by reason.",
            ["reason"],
            registry=registry,
        )
        self.pod_deletion_cost_patches = Counter(
            "clarion_pod_deletion_cost_patches_total",
            "Writes of the pod's deletion cost to Kubernetes, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.engineio_refused = Counter(
            "clarion_socketio_requests_refused_total",
            "Requests of Socket.IO clients refused by an error of Engine.IO, by error.",
            ["error"],
            registry=registry,
        )
        self.engineio_upgrades = Counter(
            "clarion_socketio_upgrades_total",
            "WebSockets that were to take over a session from polling, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.engineio_hops = Counter(
            "clarion_socketio_hops_total",
            "Requests and upgrades of Socket.IO clients whose session another pod has, by outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.catalogue = CatalogueMetrics(registry, "clarion")
        self.upstream = UpstreamMetrics(registry)

        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Begin each known series at zero. `increase()` does not see a series' first value."""
        for counter, labels in (
            (self.gaps, ("repaired", "lost")),
            (self.resumes, ("resumed", "not_resumed", "busy")),
            (self.resume_reads, ("ring", "redis")),
            (self.bus_connects, ("connected", "failed")),
            (self.presence_writes, ("written", "failed")),
            (self.identities, ("login", "refresh", "logout")),
            (self.messages, MESSAGE_OUTCOMES),
            (self.asks, _ASKS),
            (self.posts, POST_OUTCOMES),
            (self.pod_deletion_cost_patches, ("written", "failed")),
            (
                self.topics_refused,
                (
                    "forbidden",
                    "invalid",
                    "too_many",
                    "rate_limited",
                    "unavailable",
                    "refused",
                    "timeout",
                    "internal",
                ),
            ),
            (self.topic_changes, ("subscribe", "unsubscribe", "give", "take")),
            (self.engineio_upgrades, ("completed", "failed")),
            (
                self.engineio_refused,
                (
                    "transport",
                    "session",
                    "method",
                    "request",
                    "too_large",
                    "forbidden",
                    "unavailable",
                    "version",
                ),
            ),
            (self.orders, ("revoke_token", "revoke_user", "disconnect", "topics")),
        ):
            for label in labels:
                counter.labels(label)
        for kind in ("request", "upgrade"):
            for outcome in ("passed_on", "lost", "full"):
                self.engineio_hops.labels(kind, outcome)
        for hook, outcome in _HOOKS:
            self.hooks.labels(hook, outcome)
        # Looked up once, since every microsecond counts when many clients connect at once.
        self._accepted = {wire: self.handshakes.labels(wire, "accepted") for wire in _WIRES}
        for wire in ("websocket", "sse", "socketio"):
            for outcome in ("accepted", "at_capacity", "unavailable", "internal_error"):
                self.handshakes.labels(wire, outcome)

    def round_delivered(
        self,
        events: Sequence[Event],
        deliveries: Mapping[tuple[str, str], int],
        *,
        recipients: int,
        size_bytes: int,
        now: float,
        seconds: float,
    ) -> None:
        """Count one delivery round.

        Args:
            events: the events of the round.
            deliveries: events times connections, by (audience kind, wire).
            recipients: connections written to.
            size_bytes: bytes written, over all connections.
            now: when the round ended, seconds since the epoch.
            seconds: how long it took.
        """
        self.round_seconds.observe(seconds)
        self.round_recipients.observe(recipients)
        self.round_events.observe(len(events))
        self.delivered_bytes.inc(size_bytes)
        for (audience, wire), count in deliveries.items():
            self.deliveries.labels(audience, wire).inc(count)
        for audience, count in Counts(event.audience.kind for event in events).items():
            self.events.labels(audience).inc(count)
        self.publish_to_write_seconds.observe_all(
            max(0.0, now - event.id / 1_000_000) for event in events
        )

    def handshake(self, wire: str, outcome: str, seconds: float) -> None:
        """Count a handshake that was admitted or refused.

        Args:
            wire: name of the wire format.
            outcome: ``accepted``, ``abandoned``, or the label of a close.
            seconds: how long it took.
        """
        if outcome == "accepted":
            accepted = self._accepted.get(wire)
            if accepted is None:
                accepted = self._accepted[wire] = self.handshakes.labels(wire, outcome)
            accepted.inc()
        else:
            self.handshakes.labels(wire, outcome).inc()
        self.handshake_seconds.observe_all((seconds,))

    def closed(self, code: int, reason: str) -> None:
        """Count a close.

        Args:
            code: WebSocket close code.
            reason: its label in `clarion_gateway.connections.close_codes`.
        """
        self.closes.labels(str(code), reason).inc()

    def observe_pod(  # noqa: PLR0913 - one gauge each, joined in app.py
        self,
        *,
        held: Callable[[], Mapping[tuple[str, str], int]],
        carriers: Callable[[], Mapping[str, int]],
        unsent_bytes: Callable[[], int],
        outbound_bytes: Callable[[], int],
        inbound_bytes: Callable[[], int],
        users: Callable[[], int],
        topics: Callable[[], int],
        sockets: Callable[[], int],
        replay_bytes: Callable[[], int],
        pending: Callable[[], int],
        verified_age_seconds: Callable[[], float],
        loop_lag_seconds: Callable[[], float],
        draining: Callable[[], bool],
        revocations: Callable[[], int],
        presence_pending: Callable[[], int],
        disconnects_pending: Callable[[], int],
        namesakes: Callable[[], int],
        max_connections: int,
        configured_connections: int,
        fault: Callable[[], Fault | None],
    ) -> None:
        """Register the gauges whose values are read when the pod is scraped.

        Args:
            held: returns connections by (wire, identity).
            carriers: returns sessions of Engine.IO by the transport that carries them. The other
                functions return the value of the gauge with their name.
        """
        observe_faults(fault_gauge(self.registry, "clarion_bus_fault"), fault)
        gauges = {
            "clarion_pending_events": ("Events that wait for a delivery round.", pending),
            "clarion_bus_verified_age_seconds": (
                "Seconds since a probe through the whole bus came back.",
                verified_age_seconds,
            ),
            "clarion_loop_lag_seconds": (
                "How late the event loop last woke a timer.",
                loop_lag_seconds,
            ),
            "clarion_draining": ("1 while the pod sends its clients elsewhere.", draining),
            "clarion_revocations": (
                "Revocations in force: single tokens, and users' tokens of before a moment.",
                revocations,
            ),
            "clarion_presence_pending": (
                "Users of whom Redis does not know yet what has changed.",
                presence_pending,
            ),
            "clarion_disconnects_pending": (
                "Ended connections whose functions of the application wait or run.",
                disconnects_pending,
            ),
            "clarion_pods_of_same_name": (
                "Other live gateways under this pod's name.",
                namesakes,
            ),
            "clarion_sockets": (
                "TCP connections open on the public port, whatever they do.",
                sockets,
            ),
            "clarion_replay_bytes": (
                "Memory of events read from Redis that clients that resume have not taken yet.",
                replay_bytes,
            ),
            "clarion_topics": ("Topics that connections to this pod receive.", topics),
            "clarion_users": ("Users with a connection to this pod.", users),
            "clarion_unsent_bytes": (
                "Bytes written to connections that wait for slow clients.",
                unsent_bytes,
            ),
            "clarion_outbound_bytes": (
                "Memory of bytes that wait for slow clients; shared buffers count once.",
                outbound_bytes,
            ),
            "clarion_inbound_bytes": (
                "Memory of what clients have sent and no handler has finished yet.",
                inbound_bytes,
            ),
            "clarion_connections_max": (
                "Connections that the pod takes at most.",
                lambda: max_connections,
            ),
            "clarion_connections_configured": (
                "GATEWAY_MAX_CONNECTIONS; the pod takes fewer if it may not open so many files.",
                lambda: configured_connections,
            ),
        }
        for name, (documentation, read) in gauges.items():
            Gauge(name, documentation, registry=self.registry).set_function(read)
        self.registry.register(_Connections(held))
        sessions = Gauge(
            "clarion_socketio_sessions",
            "Sessions of Socket.IO clients, by the transport that carries them now.",
            ["transport"],
            registry=self.registry,
        )
        for transport in _TRANSPORTS:
            sessions.labels(transport).set_function(partial(_count, carriers, transport))


def _count(counts: Callable[[], Mapping[str, int]], name: str) -> int:
    return counts().get(name, 0)


class _Connections(Collector):
    """Connections by wire and identity, read when the pod is scraped."""

    def __init__(self, held: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._held = held

    def collect(self) -> Iterable[GaugeMetricFamily]:
        connections = GaugeMetricFamily(
            "clarion_connections",
            "Connections held, by wire and identity.",
            labels=["wire", "identity"],
        )
        # Zeros as well: an autoscaler that finds no number at all never scales down.
        none = {(wire, identity): 0 for wire in _WIRES for identity in _IDENTITIES}
        for labels, count in (none | dict(self._held())).items():
            connections.add_metric(labels, count)
        yield connections

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()
