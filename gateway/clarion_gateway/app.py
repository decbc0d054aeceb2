"""Builds a gateway. All its objects are made and connected here, and only here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import structlog
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.types import ASGIApp

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.clocks import BucketClocks
from clarion_contract.bus.orders import Orders
from clarion_contract.bus.presence import PresenceRegister
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.identity.tokens import verifier_of
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.cluster_subscriber import ClusterSubscriber
from clarion_contract.redis.server import RedisServer
from clarion_contract.redis.subscriber import Subscriber
from clarion_contract.redis.version import check_version
from clarion_contract.service import descriptors
from clarion_contract.service.declared_events import DeclaredEvents
from clarion_contract.service.described import described
from clarion_contract.service.internal import internal_app, service_registry
from clarion_contract.service.readiness import Health, HealthLog
from clarion_contract.service.redis_at_start import refuse_old_redis
from clarion_contract.service.settings import InvalidSettings
from clarion_contract.service.supervisor import Job, Supervisor
from clarion_contract.service.telemetry import exports_traces, tracer_provider
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.loading import load
from clarion_gateway.application.scope import LifespanFailed, living
from clarion_gateway.bus.recovery_key import RecoveryKey
from clarion_gateway.bus.subscription import Control, SubscriberConnection, Subscription
from clarion_gateway.clients.admission import Admission
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.given_topics import GivenTopics
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.hooks import ConnectionHooks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.inbox import Inboxes
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.clients.origins import Origins
from clarion_gateway.clients.recall import Recall
from clarion_gateway.clients.resumption import Resumption, tell_gap
from clarion_gateway.clients.revocations import Revocations
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.connections.outbound import Outbound
from clarion_gateway.delivery.replay import Replay
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.delivery.ring import Ring
from clarion_gateway.delivery.rounds import Delivery
from clarion_gateway.delivery.topic_rings import TopicRings
from clarion_gateway.delivery.tracing import FanoutTracer
from clarion_gateway.fleet.drain import Drain
from clarion_gateway.fleet.health import PodHealth
from clarion_gateway.fleet.pod_deletion_cost import SERVICE_ACCOUNT, PodDeletionCost
from clarion_gateway.fleet.presence import Presence
from clarion_gateway.fleet.rebalancing import Rebalancing
from clarion_gateway.fleet.topic_presence import TopicPresence
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.public import public_app
from clarion_gateway.upstream.answering import Answering

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway, built and running.

    Attributes:
        public: the ASGI app behind the public port, for all paths but /ws and /sse.
        internal: the ASGI app of the internal port.
        sessions: take the connections of the public port's protocol.
        drain: empties the pod before it ends.
        given_up: set when a job that the gateway needs fails for good: drain and end then.
    """

    public: ASGIApp
    internal: Starlette
    sessions: Sessions
    drain: Drain
    given_up: asyncio.Event


@contextlib.asynccontextmanager
async def running(
    settings: GatewaySettings, provider: TracerProvider | None = None
) -> AsyncIterator[Gateway]:
    """Build a gateway; its tasks run until the context ends.

    Args:
        provider: exports spans. None: the ``OTEL_*`` variables decide whether and where to.

    Raises:
        InvalidSettings: a setting turned out to be wrong when it was used.
    """
    configured, settings = settings.max_connections, _within_descriptors(settings)
    metrics = Metrics(service_registry())
    if provider is None and exports_traces():
        provider = tracer_provider("clarion-gateway", settings.pod)
    redis = await _redis(settings)
    bus = Bus(redis, settings.keyspace, settings.history, settings.replication)
    keys, verifier = verifier_of(
        settings, subject_claim=settings.jwt_user_claim, lists=settings.listing_claims
    )
    hub = Hub(Outbound(settings.outbound_bytes))
    inbound = Inbound(settings.inbound_bytes)
    ring = Ring(settings.replay_max_bytes)
    topic_rings = TopicRings(
        bus,
        max_bytes=settings.topic_replay_max_bytes,
        max_events=settings.replay_max_events,
        max_age_seconds=settings.history_max_age_seconds,
        position=lambda: delivery.position,
    )
    delivery = Delivery(
        hub,
        ring,
        metrics,
        FanoutTracer(provider.get_tracer("clarion.gateway") if provider else None, settings.pod),
        pending_max_events=settings.pending_max_events,
        pending_max_bytes=settings.pending_bytes,
        held_max_events=settings.replay_max_events,
        held_max_bytes=settings.replay_client_max_bytes,
        unsent_max_bytes=settings.max_unsent_bytes,
        positions=settings.positions,
        topic_rings=topic_rings,
    )
    revocations = Revocations(
        Orders(bus, settings.keyspace, max_orders=settings.orders_max),
        hub,
        metrics,
        leeway_seconds=settings.jwt_leeway_seconds,
    )

    supervisor = Supervisor(metrics.job_failures)

    def health() -> Health:
        return pod_health.look(supervisor.obstacles)

    presence = Presence(
        PresenceRegister(bus, settings.keyspace), hub, metrics, settings, lambda: health().sound
    )
    hub.changed = presence.changed
    topic_presence = _topic_presence(settings, bus, hub, metrics, presence)
    subscription = _subscription(
        settings,
        redis,
        bus,
        hub,
        delivery,
        ring,
        metrics,
        _Control(revocations, presence, topic_presence),
    )
    subscription.presence_changed = topic_presence.heard
    sweeper = Sweeper(
        ping_interval_seconds=settings.ping_interval_seconds,
        token_grace_seconds=settings.token_grace_seconds,
    )
    replay = Replay(
        bus,
        ring,
        metrics,
        ReplayRoom(
            max_bytes=settings.replays_max_bytes, wait_seconds=settings.handshake_seconds / 2
        ),
        max_events=settings.replay_max_events,
        max_bytes=settings.replay_client_max_bytes,
        positions=settings.positions,
        topic_rings=topic_rings,
    )
    queue = PublishQueue(bus, max_pending=settings.publish_max_pending)
    answers, host = _answering(settings, queue, inbound, metrics)
    hooks = ConnectionHooks(answers, host, metrics, supervisor.spawn, settings)
    grants = Grants(
        answers.handlers,
        host,
        metrics,
        pod=settings.pod,
        seconds=settings.subscribe_decision_seconds,
    )
    admission = Admission(
        hub,
        subscription,
        delivery,
        Resumption(hub, subscription, delivery, replay, settings.positions),
        verifier,
        metrics,
        settings,
        sweeper=sweeper,
        revocations=revocations,
        hooks=hooks,
        grants=grants,
    )
    host.memberships = Memberships(
        hub,
        subscription,
        delivery,
        admission.topics,
        grants,
        Recall(
            topic_rings,
            subscription,
            delivery,
            replay.room,
            max_events=settings.replay_max_events,
            max_bytes=settings.recall_bytes,
            positions=settings.positions,
        ),
        metrics,
        wait_seconds=settings.handshake_seconds,
    )
    given_topics = _given_topics(hub, subscription, delivery, admission, revocations, metrics)
    try:
        async with _alive(answers, settings), supervisor:
            inboxes = Inboxes(
                admission,
                host.memberships,
                answers.handlers,
                host,
                metrics,
                supervisor.spawn,
                settings,
                inbound,
            )
            sessions = Sessions(
                admission,
                hub,
                inboxes,
                sweeper,
                metrics,
                Origins(settings.allowed_origins, loopback=settings.profile == "dev"),
                supervisor.spawn,
                settings,
                hooks=hooks,
            )
            drain = Drain(
                hub,
                admission,
                lambda: inboxes.running + sessions.closing + hooks.unfinished,
                settings,
            )
            pod_health = PodHealth(settings, subscription, drain, keys)
            metrics.observe_pod(
                held=lambda: hub.held,
                unsent_bytes=lambda: hub.unsent_bytes,
                outbound_bytes=lambda: hub.outbound.waiting.used_bytes,
                inbound_bytes=lambda: inbound.used_bytes,
                users=lambda: len(hub.users),
                topics=lambda: hub.topics,
                sockets=lambda: sessions.port.open,
                replay_bytes=lambda: replay.room.used_bytes,
                pending=lambda: delivery.pending,
                verified_age_seconds=lambda: subscription.verified_age_seconds,
                loop_lag_seconds=lambda: sweeper.lag_seconds,
                draining=lambda: drain.begun,
                revocations=lambda: len(revocations),
                presence_pending=lambda: presence.pending,
                disconnects_pending=lambda: hooks.unfinished,
                namesakes=lambda: presence.namesakes.count,
                max_connections=settings.max_connections,
                configured_connections=configured,
                fault=lambda: subscription.trouble.fault if subscription.trouble else None,
            )
            supervisor.keep("subscription", subscription.run, essential=True)
            supervisor.keep("delivery", delivery.run, essential=True)
            supervisor.keep("keepalive", sweeper.run, essential=True)
            jobs: dict[str, Job] = {
                "health_log": HealthLog(health).run,
                "publish_queue": queue.run,
                "presence": presence.run,
                "given_topics": given_topics.run,
                "keys": keys.run,
                "prune": _pruning(subscription, revocations, hub, settings),
                **_topic_presence_jobs(settings, topic_presence, hub),
                **dict(
                    _optional_jobs(
                        settings,
                        hub,
                        inboxes,
                        presence,
                        health,
                        metrics,
                        answers.declared,
                        RecoveryKey(bus, settings.keyspace, sessions.recovery),
                    )
                ),
            }
            for name, job in jobs.items():
                supervisor.keep(name, job)
            yield Gateway(
                public_app(settings, lambda: drain.begun),
                internal_app(
                    metrics.registry,
                    health,
                    metrics.ready,
                    warnings=lambda: [*presence.namesakes.warnings, *answers.warnings],
                    about=described("gateway", settings),
                ),
                sessions,
                drain,
                supervisor.given_up,
            )
            # Handlers under way are cancelled too: they had time to end while the pod drained.
            await presence.leave()
    finally:
        await bus.aclose()
        await keys.aclose()
        if provider is not None:
            await asyncio.to_thread(provider.shutdown)


def _within_descriptors(settings: GatewaySettings) -> GatewaySettings:
    """The settings with as many connections as the process may open sockets."""
    fitting = settings.within(descriptors.for_sockets())
    if fitting is not settings:
        _log.warning(
            "too few file descriptors for GATEWAY_MAX_CONNECTIONS: the limit is lowered",
            configured=settings.max_connections,
            effective=fitting.max_connections,
            descriptors=descriptors.limit(),
            needed_hard_limit=descriptors.needed_for(settings.max_sockets),
        )
    return fitting


async def _redis(settings: GatewaySettings) -> RedisServer | RedisCluster:
    redis = redis_from_url(settings.redis_address)
    await refuse_old_redis(redis)
    return redis


class _Control:
    """Hands messages of the control stream, and the news that Redis is back, to their owners."""

    def __init__(
        self, revocations: Revocations, presence: Presence, topic_presence: TopicPresence
    ) -> None:
        self._revocations = revocations
        self._presence = presence
        self._topic_presence = topic_presence

    async def load(self) -> None:
        await self._revocations.load()
        self._presence.renew()
        self._topic_presence.renew()

    def hear(self, payload: bytes) -> None:
        self._revocations.hear(payload)


def _given_topics(
    hub: Hub,
    subscription: Subscription,
    delivery: Delivery,
    admission: Admission,
    revocations: Revocations,
    metrics: Metrics,
) -> GivenTopics:
    given_topics = GivenTopics(hub, subscription, delivery, admission.topics, metrics)
    revocations.change_topics = given_topics.order
    return given_topics


def _topic_presence(
    settings: GatewaySettings, bus: Bus, hub: Hub, metrics: Metrics, presence: Presence
) -> TopicPresence:
    return TopicPresence(
        TopicRegister(bus, settings.keyspace),
        bus.publish,
        hub,
        metrics,
        settings.rules,
        lambda: presence.pods,
    )


def _topic_presence_jobs(
    settings: GatewaySettings, topic_presence: TopicPresence, hub: Hub
) -> dict[str, Job]:
    """The job of presence of topics, if a rule asks for it. Without one, nothing is reported."""
    if not settings.rules.have_presence:
        return {}
    hub.members_changed = topic_presence.members_changed
    return {"topic_presence": topic_presence.run}


def _optional_jobs(
    settings: GatewaySettings,
    hub: Hub,
    inboxes: Inboxes,
    presence: Presence,
    health: Callable[[], Health],
    metrics: Metrics,
    declared: DeclaredEvents | None,
    key: RecoveryKey,
) -> Iterator[tuple[str, Job]]:
    """The jobs that run only if a setting asks for them."""
    if declared is not None:
        yield "catalogue", declared.run
    if settings.socketio:
        yield "recovery_key", key.run
    if settings.rebalance:
        rebalancing = Rebalancing(
            hub,
            lambda: presence.pods,
            lambda: health().sound,
            inboxes.__contains__,
            metrics,
            settings,
        )
        yield "rebalancing", rebalancing.run
    if settings.pod_deletion_cost:
        cost = PodDeletionCost(
            settings.pod,
            hub.__len__,
            metrics,
            interval_seconds=settings.pod_deletion_cost_interval_seconds,
            service_account=SERVICE_ACCOUNT,
        )
        yield "pod_deletion_cost", cost.run


def _subscription(
    settings: GatewaySettings,
    redis: RedisServer | RedisCluster,
    bus: Bus,
    hub: Hub,
    delivery: Delivery,
    ring: Ring,
    metrics: Metrics,
    control: Control,
) -> Subscription:
    def connect() -> SubscriberConnection:
        if isinstance(redis, RedisCluster):
            return ClusterSubscriber(settings.redis_address, settings.keyspace, redis)
        return Subscriber(settings.redis_address, settings.keyspace)

    clocks = None
    if settings.keyspace.clustered:
        clocks = BucketClocks(
            bus,
            settings.keyspace,
            allowed_microseconds=round(settings.cluster_clock_seconds * 1e6),
        )
    return Subscription(
        bus,
        delivery,
        ring,
        metrics,
        settings,
        connect=connect,
        tell_gap=functools.partial(tell_gap, hub),
        control=control,
        clocks=clocks,
        check=functools.partial(check_version, redis),
    )


def _handlers(settings: GatewaySettings) -> Handlers:
    try:
        handlers = load(settings.handlers) if settings.handlers else Handlers()
    except ValueError as error:
        raise InvalidSettings([str(error)]) from None
    handlers.limit_threads(settings.handler_threads)
    return handlers


def _answering(
    settings: GatewaySettings, queue: PublishQueue, inbound: Inbound, metrics: Metrics
) -> tuple[Answering, GatewayHost]:
    answers = Answering(_handlers(settings), queue, metrics, settings)
    asks = Asks(metrics, max_per_connection=settings.max_asks_per_connection)
    return answers, GatewayHost(answers.publisher, asks, inbound)


@contextlib.asynccontextmanager
async def _alive(answers: Answering, settings: GatewaySettings) -> AsyncIterator[None]:
    """The life of the application: what it opens at the start closes after the drain."""
    try:
        async with living(
            answers.handlers.scopes,
            limit_seconds=settings.lifespan_seconds,
            failed_to_end=_log.error,
        ):
            yield
    except LifespanFailed as failed:
        raise InvalidSettings([f"GATEWAY_HANDLERS={settings.handlers}: {failed}"]) from None
    finally:
        await answers.aclose()


def _pruning(
    subscription: Subscription, revocations: Revocations, hub: Hub, settings: GatewaySettings
) -> Job:
    async def prune() -> None:
        while True:
            await asyncio.sleep(max(1.0, settings.linger_seconds / 4))
            revocations.forget_ended()
            await subscription.prune(hub.named_streams, settings.linger_seconds)

    return prune
