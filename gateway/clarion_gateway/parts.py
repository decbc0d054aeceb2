"""The objects of one gateway, each made and connected here, and only here.

Every part is made when another one first needs it, so this module says what each part works with,
and no order. `clarion_gateway.app` runs them.
"""

# ruff: noqa: D102 - the class of each part says what it does

from __future__ import annotations

import functools
from functools import cached_property

from opentelemetry.sdk.trace import TracerProvider

from clarion_contract.bus.bus import Bus
from clarion_contract.bus.clocks import BucketClocks
from clarion_contract.bus.orders import Orders
from clarion_contract.bus.presence import PresenceRegister
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.bus.texts import Texts
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.bus.transitions import TransitionRegister
from clarion_contract.identity.keys import Keys
from clarion_contract.identity.tokens import TokenVerifier, verifier_of
from clarion_contract.redis.cluster import RedisCluster
from clarion_contract.redis.cluster_subscriber import ClusterSubscriber
from clarion_contract.redis.server import RedisServer
from clarion_contract.redis.subscriber import Subscriber
from clarion_contract.redis.version import check_version
from clarion_contract.service.internal import service_registry
from clarion_contract.service.readiness import Health
from clarion_contract.service.settings import InvalidSettings
from clarion_contract.service.supervisor import Supervisor
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.loading import load
from clarion_gateway.bus.recovery_topics import RecoveryTopics
from clarion_gateway.bus.relay import Relay
from clarion_gateway.bus.subscriber_connection import SubscriberConnection
from clarion_gateway.bus.subscription import Subscription
from clarion_gateway.clients.admission import Admission
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.given_topics import GivenTopics
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.hooks import ConnectionHooks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.identity_changes import IdentityChanges
from clarion_gateway.clients.inbox import Inboxes
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.clients.origins import Origins
from clarion_gateway.clients.posting import Posting
from clarion_gateway.clients.recall import Recall
from clarion_gateway.clients.recoveries import Recoveries
from clarion_gateway.clients.remembered_topics import RememberedTopics
from clarion_gateway.clients.resumption import Resumption, tell_gap
from clarion_gateway.clients.revocations import Revocations
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.clients.topics import Topics
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.clients.welcoming import Welcoming
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
from clarion_gateway.fleet.pod_addresses import PodAddresses
from clarion_gateway.fleet.presence import Presence
from clarion_gateway.fleet.silent_texts import SilentTexts
from clarion_gateway.fleet.topic_presence import TopicPresence
from clarion_gateway.fleet.transitions import Transitions
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.socketio.hops import Hops
from clarion_gateway.upstream.answering import Answering


class Parts:
    """All objects of one gateway.

    Args:
        redis: connects when it is first used.
        address: of the internal port, for other pods; empty: they cannot reach it.
        provider: exports spans; None: nothing does.

    Raises:
        InvalidSettings: by a part that finds a setting wrong when it is made.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        redis: RedisServer | RedisCluster,
        address: str,
        provider: TracerProvider | None,
    ) -> None:
        self.settings = settings
        self.redis = redis
        self._address = address
        self._provider = provider

    # Beside the way of an event.

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics(service_registry())

    @cached_property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.metrics.job_failures)

    @cached_property
    def bus(self) -> Bus:
        settings = self.settings
        return Bus(self.redis, settings.keyspace, settings.history, settings.replication)

    @property
    def keys(self) -> Keys:
        return self._identity[0]

    @property
    def verifier(self) -> TokenVerifier:
        return self._identity[1]

    @cached_property
    def _identity(self) -> tuple[Keys, TokenVerifier]:
        settings = self.settings
        return verifier_of(
            settings, subject_claim=settings.jwt_user_claim, lists=settings.listing_claims
        )

    # From Redis to the sockets.

    @cached_property
    def hub(self) -> Hub:
        return Hub(Outbound(self.settings.outbound_bytes))

    @cached_property
    def ring(self) -> Ring:
        return Ring(self.settings.replay_max_bytes)

    @cached_property
    def topic_rings(self) -> TopicRings:
        return TopicRings(
            self.bus,
            max_bytes=self.settings.topic_replay_max_bytes,
            max_events=self.settings.replay_max_events,
            max_age_seconds=self.settings.history_max_age_seconds,
            position=lambda: self.delivery.position,
        )

    @cached_property
    def delivery(self) -> Delivery:
        settings, provider = self.settings, self._provider
        tracer = provider.get_tracer("clarion.gateway") if provider else None
        return Delivery(
            self.hub,
            self.ring,
            self.metrics,
            FanoutTracer(tracer, settings.pod),
            pending_max_events=settings.pending_max_events,
            pending_max_bytes=settings.pending_bytes,
            held_max_events=settings.replay_max_events,
            held_max_bytes=settings.replay_client_max_bytes,
            unsent_max_bytes=settings.max_unsent_bytes,
            positions=settings.positions,
            topic_rings=self.topic_rings,
        )

    @cached_property
    def subscription(self) -> Subscription:
        return Subscription(
            self.bus,
            self.delivery,
            self.ring,
            self.metrics,
            self.settings,
            connect=self._connect,
            tell_gap=functools.partial(tell_gap, self.hub),
            control=_Control(self.revocations, self.presence, self.topic_presence),
            relay=self.relay if self.settings.sse_messages else None,
            clocks=self._clocks,
            check=functools.partial(check_version, self.redis),
        )

    @cached_property
    def relay(self) -> Relay:
        settings = self.settings
        return Relay(self.bus, settings.keyspace, settings.pod, self.metrics, self.supervisor.spawn)

    def _connect(self) -> SubscriberConnection:
        settings, redis = self.settings, self.redis
        if isinstance(redis, RedisCluster):
            return ClusterSubscriber(settings.redis_address, settings.keyspace, redis)
        return Subscriber(settings.redis_address, settings.keyspace)

    @cached_property
    def _clocks(self) -> BucketClocks | None:
        settings = self.settings
        if not settings.keyspace.clustered:
            return None
        allowed = round(settings.cluster_clock_seconds * 1e6)
        return BucketClocks(self.bus, settings.keyspace, allowed_microseconds=allowed)

    @cached_property
    def replay(self) -> Replay:
        settings = self.settings
        room = ReplayRoom(
            max_bytes=settings.replays_max_bytes, wait_seconds=settings.handshake_seconds / 2
        )
        return Replay(
            self.bus,
            self.ring,
            self.metrics,
            room,
            max_events=settings.replay_max_events,
            max_bytes=settings.replay_client_max_bytes,
            positions=settings.positions,
            topic_rings=self.topic_rings,
        )

    # The application.

    @cached_property
    def inbound(self) -> Inbound:
        return Inbound(self.settings.inbound_bytes)

    @cached_property
    def queue(self) -> PublishQueue:
        return PublishQueue(self.bus, max_pending=self.settings.publish_max_pending)

    @cached_property
    def answers(self) -> Answering:
        return Answering(_handlers(self.settings), self.queue, self.metrics, self.settings)

    @cached_property
    def host(self) -> GatewayHost:
        asks = Asks(self.metrics, max_per_connection=self.settings.max_asks_per_connection)
        return GatewayHost(
            self.answers.publisher,
            asks,
            self.inbound,
            self.texts,
            text_flush_seconds=self.settings.text_flush_seconds,
            text_lease_seconds=self.settings.text_lease_seconds,
        )

    @cached_property
    def texts(self) -> Texts:
        settings = self.settings
        return Texts(
            self.bus,
            settings.keyspace,
            settings.history,
            max_bytes=settings.text_max_bytes,
            lease_seconds=settings.text_lease_seconds,
            check=None if self.answers.declared is None else self.answers.declared.check,
        )

    @cached_property
    def hooks(self) -> ConnectionHooks:
        return ConnectionHooks(
            self.answers, self.host, self.metrics, self.supervisor.spawn, self.settings
        )

    @cached_property
    def grants(self) -> Grants:
        return Grants(
            self.answers,
            self.host,
            self.metrics,
            pod=self.settings.pod,
            seconds=self.settings.subscribe_decision_seconds,
        )

    # Clients.

    @cached_property
    def revocations(self) -> Revocations:
        settings = self.settings
        return Revocations(
            Orders(self.bus, settings.keyspace, max_orders=settings.orders_max),
            self.hub,
            self.metrics,
            leeway_seconds=settings.jwt_leeway_seconds,
        )

    @cached_property
    def identification(self) -> Identification:
        return Identification(self.verifier, self.revocations, self.metrics)

    @cached_property
    def admission(self) -> Admission:
        return Admission(
            self.hub,
            self.subscription,
            self.welcoming,
            self.identification,
            self.metrics,
            self.settings,
            users=self._users,
            topics=self._topics,
            grants=self.grants,
            sweeper=self.sweeper,
            hooks=self.hooks,
            recoveries=Recoveries(
                self.hub,
                self.remembered_topics,
                self.metrics,
                hooks=self.hooks,
                grants=self.grants,
            ),
        )

    @cached_property
    def welcoming(self) -> Welcoming:
        resumption = Resumption(
            self.hub,
            self.subscription,
            self.delivery,
            self.replay,
            self.settings.positions,
            at_once_bytes=self.settings.max_unsent_bytes // 4,
        )
        return Welcoming(
            self.hub, self.delivery, resumption, self._recall, self.metrics, self.settings
        )

    @cached_property
    def _users(self) -> UserLimits:
        return UserLimits(self.hub, self.settings)

    @cached_property
    def _topics(self) -> Topics:
        return Topics(self.metrics, max_per_connection=self.settings.max_topics_per_connection)

    @cached_property
    def identity_changes(self) -> IdentityChanges:
        return IdentityChanges(
            self.hub,
            self.subscription,
            self.identification,
            self._users,
            self._topics,
            self.grants,
            self._recall,
            self.sweeper,
            self.metrics,
            wait_seconds=self.settings.handshake_seconds,
        )

    @cached_property
    def memberships(self) -> Memberships:
        return Memberships(
            self.hub,
            self.subscription,
            self.delivery,
            self._topics,
            self.grants,
            self._recall,
            self.remembered_topics,
            self.metrics,
            wait_seconds=self.settings.handshake_seconds,
        )

    @cached_property
    def _recall(self) -> Recall:
        return Recall(
            self.topic_rings,
            self.subscription,
            self.delivery,
            self.replay.room,
            max_events=self.settings.replay_max_events,
            max_bytes=self.settings.recall_bytes,
            positions=self.settings.positions,
            rules=self.settings.rules,
        )

    @cached_property
    def remembered_topics(self) -> RememberedTopics:
        """The topics of clients of Socket.IO, for their recovery."""
        seconds = self.settings.history_max_age_seconds
        return RememberedTopics(
            RecoveryTopics(self.bus, self.settings.keyspace, seconds=seconds),
            self.hub,
            self.revocations.have_taken,
            seconds=seconds,
        )

    @cached_property
    def given_topics(self) -> GivenTopics:
        return GivenTopics(
            self.hub,
            self.subscription,
            self.delivery,
            self._topics,
            self.remembered_topics,
            self.metrics,
        )

    @cached_property
    def inboxes(self) -> Inboxes:
        return Inboxes(
            self.identity_changes,
            self.memberships,
            self.answers.handlers,
            self.host,
            self.metrics,
            self.supervisor.spawn,
            self.settings,
            self.inbound,
        )

    @cached_property
    def sessions(self) -> Sessions:
        settings = self.settings
        return Sessions(
            self.admission,
            self.hub,
            self.inboxes,
            self.sweeper,
            self.metrics,
            Origins(settings.allowed_origins, loopback=settings.profile == "dev"),
            self.supervisor.spawn,
            settings,
            subscription=self.subscription,
            hooks=self.hooks,
            namespaces=self.answers.namespaces,
        )

    @cached_property
    def posting(self) -> Posting:
        return Posting(
            self.identification,
            self.hub,
            self.sessions,
            self.relay,
            self.metrics,
            self.settings,
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        return Sweeper(
            ping_interval_seconds=self.settings.ping_interval_seconds,
            token_grace_seconds=self.settings.token_grace_seconds,
        )

    # The fleet.

    @cached_property
    def presence(self) -> Presence:
        register = PresenceRegister(self.bus, self.settings.keyspace)
        transitions = self.transitions
        return Presence(
            register,
            self.hub,
            self.metrics,
            self.settings,
            lambda: self.health().sound,
            note=None if transitions is None else transitions.note,
            mark=lambda: self.sessions.sids.mark,
            address=self._address,
        )

    @cached_property
    def hops(self) -> Hops:
        register = PresenceRegister(self.bus, self.settings.keyspace)
        return Hops(self.sessions, PodAddresses(lambda: self.presence.pods, register.pods))

    @cached_property
    def transitions(self) -> Transitions | None:
        """Tell the upstream who is online, if it wants to know."""
        if self.answers.presence is None:
            return None
        transitions = Transitions(
            TransitionRegister(self.bus, self.settings.keyspace),
            PresenceRegister(self.bus, self.settings.keyspace),
            self.answers.presence.tell,
            self.metrics.upstream,
            self.settings,
        )
        self.metrics.upstream.observe_transitions(lambda: transitions.waiting)
        return transitions

    @cached_property
    def topic_presence(self) -> TopicPresence:
        return TopicPresence(
            TopicRegister(self.bus, self.settings.keyspace),
            self.bus.publish,
            self.hub,
            self.metrics,
            self.settings.rules,
            lambda: self.presence.pods,
        )

    @cached_property
    def silent_texts(self) -> SilentTexts:
        return SilentTexts(self.texts, self.metrics)

    @cached_property
    def drain(self) -> Drain:
        return Drain(
            self.hub,
            self.admission,
            lambda: self.inboxes.running + self.sessions.closing + self.hooks.unfinished,
            self.settings,
            self.hops,
        )

    @cached_property
    def _pod_health(self) -> PodHealth:
        return PodHealth(self.settings, self.subscription, self.drain, self.keys)

    def health(self) -> Health:
        """The pod's health now."""
        return self._pod_health.look(self.supervisor.obstacles)

    def connect(self) -> None:
        """Tell parts of those that they serve and do not know: calls that run upwards."""
        self.hub.changed = self.presence.changed
        self.subscription.presence_changed = self.topic_presence.heard
        self.revocations.change_topics = self.given_topics.order
        self.host.memberships = self.memberships
        self.relay.answer = self.posting.asked
        if self.settings.rules.have_presence:
            self.hub.members_changed = self.topic_presence.members_changed


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


def _handlers(settings: GatewaySettings) -> Handlers:
    try:
        handlers = load(settings.handlers) if settings.handlers else Handlers()
    except ValueError as error:
        raise InvalidSettings([str(error)]) from None
    handlers.limit_threads(settings.handler_threads)
    return handlers
