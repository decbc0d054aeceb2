"""The gateway's own settings, read from the environment with the prefix ``GATEWAY_``."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from clarion_contract.bus.positions import ONE_CLOCK, Positions, SeveralClocks
from clarion_contract.events.audience import KINDS
from clarion_contract.events.topic import check_pattern
from clarion_contract.service.declared_events import Undeclared
from clarion_contract.service.memory_limit import memory_limit_bytes
from clarion_contract.service.origins import check_entries
from clarion_contract.service.secret_settings import MAY_HOLD_SECRET
from clarion_contract.service.settings import (
    EVERY_ADDRESS,
    HEALTH_PATH_MEANING,
    HTTP_URL,
    ContractSettings,
    Expected,
    HealthPath,
    Names,
    PathPrefix,
    split_names,
)
from clarion_contract.service.webhooks import Signer

_HOOKS: Final = frozenset({"connect", "disconnect", "presence", "subscribe"})
_BEATS_PER_TIMEOUT: Final = 3
_SOCKETS_SPARE_MIN: Final = 1_000
_BEHIND_MIN_BYTES: Final = 4_096
_BEHIND_MAX_BYTES: Final = 65_536


PRIVATE_NETWORKS: Final = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
    "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
)  # fmt: skip
"""Addresses that no client on the internet has (RFC 6890)."""


class GatewaySettings(ContractSettings):
    """The settings of a gateway pod. docs/settings.md explains each."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    host: str = Field("::", description=f"Address of the public port. {EVERY_ADDRESS}")
    port: int = Field(8000, ge=0, le=65_535, description="Public port: /ws, /sse, /socket.io/.")
    health_path: HealthPath = Field("/health", description=HEALTH_PATH_MEANING)
    path_prefix: PathPrefix = Field(
        "",
        description="Beginning of all public paths, for a host that others share: with "
        "`/realtime`, clients use `/realtime/ws` and `/realtime/sse`.",
    )
    internal_host: str = Field("::", description=f"Address of the internal port. {EVERY_ADDRESS}")
    internal_port: int = Field(
        9090, ge=0, le=65_535, description="Internal port: /metrics, /healthz, /readyz."
    )
    pod_ip: str | None = Field(
        None,
        description="IP address at which other gateways reach the internal port, to pass on what "
        "Socket.IO clients send for a session that this pod has. Unset: that of "
        "`GATEWAY_INTERNAL_HOST`, or of the host's name.",
    )
    handlers: Annotated[str | None, Expected("package.module:name")] = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="The application's handlers, as package.module:name; or a function without "
        "arguments that makes them.",
    )
    undeclared: Undeclared = Field(
        "allow",
        description="What becomes of a handler's event whose type `CLARION_CATALOGUE` does not "
        "declare: `allow` takes it, `warn` also logs and counts it, `refuse` raises `InvalidEvent` "
        "in the handler.",
    )
    upstream_url: Annotated[str | None, MAY_HOLD_SECRET, HTTP_URL] = Field(
        None,
        pattern=r"^https?://",
        repr=False,
        description="URL of the HTTP backend that answers clients' messages. Unset: there is none.",
    )
    upstream_secret: SecretStr | None = Field(
        None,
        description="Secret with which requests to the backend are signed: `whsec_` and base64, or "
        "a text of 24 bytes or more without spaces. While you change it: the new and the old one, "
        "with a space between them.",
    )
    upstream_types: Names = Field(
        ("*",),
        description="Types of the messages that go to the backend. `*` means every type without a "
        "handler in the gateway.",
    )
    upstream_hooks: Names = Field(
        (),
        description="Further calls to the backend: `connect` asks it whether a client may "
        "connect, `disconnect` tells it of each connection that has ended, `subscribe` asks it "
        "about topics that clients' tokens do not grant, `presence` tells it of users that come "
        "online and go offline.",
    )
    upstream_offline_seconds: float = Field(
        10,
        ge=0,
        le=3_600,
        description="How long a user must be without a connection to any pod before the backend is "
        "told that they are offline.",
    )
    upstream_topics: Names = Field(
        ("**",),
        description="Topics about which the backend decides if `GATEWAY_UPSTREAM_HOOKS` has "
        "`subscribe`: names and patterns such as `room.*`. `**` means every topic.",
    )
    upstream_seconds: float = Field(
        3, gt=0, le=300, description="How long the backend may take for one attempt."
    )
    upstream_retries: int = Field(
        2,
        ge=0,
        le=10,
        description="How often a message is sent again if the backend cannot be reached, takes too "
        "long, or answers 408, 425, 429, 500, 502, 503 or 504. All attempts must fit into "
        "`GATEWAY_HANDLER_SECONDS`.",
    )
    upstream_concurrency: int = Field(
        256,
        ge=1,
        le=10_000,
        description="How many requests to the backend one pod has under way, and how many "
        "connections to it. More messages wait.",
    )
    upstream_client_concurrency: int = Field(
        8,
        ge=1,
        le=10_000,
        description="How many of them are for one user, over all of the user's connections to the "
        "pod. One connection has one at a time.",
    )
    upstream_circuit_failures: int = Field(
        20,
        ge=1,
        le=100_000,
        description="After so many failures in a row, messages get `unavailable` at once, until a "
        "trial succeeds.",
    )
    upstream_answer_max_bytes: int = Field(
        1 << 20, ge=256, le=64 << 20, description="Largest answer of the backend."
    )
    allow_anonymous: bool = Field(True, description="Whether clients without a token may connect.")
    allowed_origins: Names = Field(
        (),
        description="Origins whose pages may connect, e.g. https://app.example.com, or "
        "https://*.example.com for all hosts below one. Desktop and mobile apps have origins such "
        "as capacitor://localhost, tauri://localhost or file://; `null` stands for pages without "
        "one; * allows any. Empty allows only pages of the gateway's own host. The profile `dev` "
        "also allows pages of this machine. Clients that send no Origin are not browsers and may "
        "always connect.",
    )
    trusted_proxies: Names = Field(
        PRIVATE_NETWORKS,
        description="Networks of the proxies in front of the gateway. If a connection comes from "
        "one of them, `X-Forwarded-For` says where the client is, and `X-Forwarded-Host` the host "
        "that its page came from. Anonymous clients of one address "
        "share a part of what the pod has for clients that resume, and all clients of one address "
        "its limits on handshakes.",
    )
    address_handshakes_per_second: float = Field(
        200,
        ge=0,
        le=100_000,
        description="How many handshakes per second one client address may begin on average; 0: no "
        "limit. A CONNECT of Socket.IO counts as well. All addresses of an IPv6 network of 64 bits "
        "count as one. Those in `GATEWAY_TRUSTED_PROXIES` have no limit. Past it, the answer is "
        "429.",
    )
    address_handshake_burst: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="How many handshakes one client address may begin at once.",
    )
    address_max_opening: int = Field(
        1_000,
        ge=0,
        le=1_000_000,
        description="How many handshakes of one client address may be under way; 0: no limit.",
    )
    max_connections: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="The most connections that one pod holds. Sockets that ask for one, or are "
        "just closing, may be a tenth more, and at least 1,000; past that, the answer is 503.",
    )
    max_connections_per_user: int = Field(
        100, ge=1, le=100_000, description="The most connections of one user on all pods together."
    )
    max_unsent_bytes: int = Field(
        1 << 20,
        ge=16_384,
        le=1 << 30,
        description="How many bytes may wait for one slow socket before it is closed with 4408. "
        "Must "
        "be more than the largest event.",
    )
    outbound_max_bytes: int | None = Field(
        None,
        ge=1 << 20,
        le=1 << 40,
        description="The most memory for what waits for slow clients, over all clients. Past it, "
        "those that hold the most are closed. Unset: 3/16 of the memory limit.",
    )
    inbound_max_bytes: int | None = Field(
        None,
        ge=1 << 20,
        le=1 << 40,
        description="The most memory for what clients have sent and no handler has finished yet, "
        "over all clients. Past it, those that hold the most are closed with 1013. Unset: 1/8 of "
        "the memory limit.",
    )
    message_max_bytes: int = Field(
        65_536, ge=256, le=1 << 26, description="Largest message from a client."
    )
    messages_per_second: float = Field(
        20,
        gt=0,
        le=100_000,
        description="How many messages per second a client may send on average.",
    )
    message_burst: int = Field(
        60, ge=1, le=1_000_000, description="How many messages a client may send at once."
    )
    handshake_seconds: float = Field(
        10, gt=0, le=300, description="Longest time from the TCP connection to `welcome`."
    )
    request_head_max_bytes: int = Field(
        32_768, ge=1_024, le=1 << 20, description="Largest size of a request's line and headers."
    )
    ping_interval_seconds: int = Field(
        25,
        ge=1,
        le=3_600,
        description="Seconds between pings. A client that is silent from one ping to the next is "
        "closed.",
    )
    token_grace_seconds: float = Field(
        30,
        ge=0,
        le=3_600,
        description="How long a connection may outlive its token, so that the client can refresh "
        "it.",
    )
    handler_seconds: float = Field(
        10, gt=0, le=600, description="How long a handler may take before the client gets an error."
    )
    handler_threads: int = Field(
        40, ge=1, le=1_000, description="Threads for handlers that are plain functions."
    )
    handler_backlog: int = Field(
        64,
        ge=1,
        le=100_000,
        description="How many messages of one client may wait for the handler.",
    )
    lifespan_seconds: float = Field(
        30,
        gt=0,
        le=3_600,
        description="How long a lifespan of the application may take to begin, and to end.",
    )
    max_asks_per_connection: int = Field(
        16,
        ge=1,
        le=10_000,
        description="How many questions of the application (`context.ask`) may wait for one "
        "client.",
    )
    disconnects_at_once: int = Field(
        64,
        ge=1,
        le=10_000,
        description="How many of the application's functions for ended connections "
        "(`on_disconnect`) run at once; the others wait.",
    )
    replay_max_bytes: int = Field(
        64 << 20,
        ge=0,
        le=1 << 34,
        description="Memory for recent events of `all` and `authenticated`, for clients that "
        "resume. Up to a quarter of it holds events that are encoded already.",
    )
    replay_max_events: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="The most events that are replayed to one client that resumes.",
    )
    replay_client_max_bytes: int = Field(
        8 << 20,
        ge=65_536,
        le=1 << 30,
        description="The most memory that events may take which are replayed to one client that "
        "resumes: their data, and 400 bytes for each event.",
    )
    replays_max_bytes: int = Field(
        64 << 20,
        ge=1 << 20,
        le=1 << 34,
        description="The most memory for events that were read from Redis for clients that "
        "resume, over all clients. Past it, a client waits for up to half of "
        "`GATEWAY_HANDSHAKE_SECONDS`, and then starts anew.",
    )
    topic_replay_max_bytes: int = Field(
        32 << 20,
        ge=1 << 20,
        le=1 << 34,
        description="Memory for recent events of topics, for clients that resume, and for those "
        "that subscribe and ask for the past. One topic takes an eighth of it at most.",
    )
    pending_max_events: int = Field(
        10_000,
        ge=100,
        le=1_000_000,
        description="How many events may wait for delivery. Past it, the pod stops reading from "
        "Redis until there is room.",
    )
    pending_max_bytes: int | None = Field(
        None,
        ge=1 << 20,
        le=1 << 40,
        description="The most memory for events that wait for delivery, and for those that the pod "
        "reads from Redis after it was cut off from it. Past it, the pod stops reading from Redis; "
        "clients are told of what it cannot make up for (`gap`). Unset: 1/16 of the memory limit.",
    )
    publish_max_pending: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="How many of the handlers' publishes may wait for Redis.",
    )
    probe_interval_seconds: float = Field(
        5,
        gt=0,
        le=300,
        description="Seconds between probes through the bus; at most half of "
        "`CLARION_HISTORY_MAX_AGE_SECONDS` counts.",
    )
    probe_timeout_seconds: float = Field(
        5,
        gt=0,
        le=300,
        description="How long a probe may take to come back before the pod makes a new "
        "subscription.",
    )
    heartbeat_seconds: float = Field(
        10,
        ge=1,
        le=300,
        description="If Redis does not hear from a pod for this time, the pod and its connections "
        "count as gone. A pod sends three heartbeats in this time.",
    )
    rebalance: bool = Field(
        False,
        description="Whether a pod that holds far more clients than the mean of all ready pods "
        "sends "
        "some of them elsewhere.",
    )
    rebalance_ratio: float = Field(
        0.2,
        gt=0,
        le=10,
        description="How far above the mean a pod may be; 0.2 means a fifth. Differences within "
        "random "
        "variation (4 x sqrt(mean)) never count.",
    )
    rebalance_per_second: float = Field(
        10, gt=0, le=1_000, description="How many connections a pod sends elsewhere per second."
    )
    cluster_clock_seconds: float = Field(
        1,
        ge=0,
        le=300,
        description="On a Redis Cluster: how far the clocks of its nodes may differ. A client that "
        "resumes gets events of this much more time again.",
    )
    topics_claim: str = Field(
        "topics",
        min_length=1,
        max_length=256,
        description="The claim of a client's token that lists the topics that its connections "
        "receive.",
    )
    subscribe_claim: str = Field(
        "subscribe",
        min_length=1,
        max_length=256,
        description="The claim of a client's token that lists the topics, and patterns of topics, "
        "that its connections may ask for.",
    )
    max_topics_per_connection: int = Field(
        100,
        ge=1,
        le=10_000,
        description="The most topics that one connection receives: those of its token, and those "
        "that it asks for.",
    )
    subscribes_per_second: float = Field(
        50,
        gt=0,
        le=100_000,
        description="How many topics per second a client may subscribe to on average, by messages. "
        "Those of its handshake do not count.",
    )
    subscribe_burst: int = Field(
        200,
        ge=1,
        le=1_000_000,
        description="How many topics a client may subscribe to at once, by messages.",
    )
    linger_seconds: float = Field(
        15,
        ge=0,
        le=3_600,
        description="How long a pod stays subscribed to the channel of a user or a topic after the "
        "last socket that heard it has gone, so that reloading a page costs Redis nothing.",
    )
    compression: bool = Field(
        False,
        description="Whether clients that ask for it get permessage-deflate, without context "
        "takeover.",
    )
    sse_messages: bool = Field(
        True,
        description="Whether clients of event streams may send messages to handlers, by "
        "`POST /sse`.",
    )
    socketio: bool = Field(
        True,
        description="Whether clients of Socket.IO may connect, by WebSocket and by long polling.",
    )
    socketio_path: Annotated[str, Expected("a path such as /socket.io")] = Field(
        "/socket.io",
        pattern=r"^(/[A-Za-z0-9._~-]+)+$",
        description="Path of Socket.IO below the prefix: the option `path` of its clients.",
    )
    socketio_recovery: bool = Field(
        False,
        description="Whether clients of Socket.IO recover what they missed without asking for it "
        "by `auth.recovery`. Clients that do not know recovery get one more argument with each "
        "event.",
    )
    socketio_ping_interval_seconds: float = Field(
        25,
        ge=0.1,
        le=3_600,
        description="Seconds from the answer to a ping of Socket.IO to the next ping.",
    )
    socketio_ping_timeout_seconds: float = Field(
        20,
        ge=0.1,
        le=3_600,
        description="How long a client of Socket.IO may take to answer a ping.",
    )
    drain_pause_seconds: float = Field(
        5,
        ge=0,
        le=600,
        description="Time from SIGTERM to the first close, in which load balancers notice.",
    )
    drain_spread_seconds: float = Field(
        20, ge=0, le=3_600, description="Time over which a draining pod spreads its closes."
    )
    drain_grace_seconds: float = Field(
        5,
        ge=0,
        le=600,
        description="Longest time from the last close to the exit, for handlers that still run.",
    )
    pod_deletion_cost: bool = Field(
        False,
        description="Whether the pod tells Kubernetes how many connections it holds, so that "
        "scaling down takes the emptiest pod.",
    )
    pod_deletion_cost_interval_seconds: float = Field(
        60, ge=1, le=3_600, description="Least time between two such writes to Kubernetes."
    )
    dev_publisher_url: str = Field(
        "http://127.0.0.1:8080", description="In the dev profile: the publisher that the page uses."
    )
    dev_gateway_urls: Names = Field(
        (), description="In the dev profile: pages of the gateways that the page links to."
    )
    dev_kill: bool = Field(
        False,
        description="In the dev profile: whether the page may kill its gateway, to show that no "
        "event is lost.",
    )

    @property
    def listing_claims(self) -> dict[str, str]:
        """The claims that list names for kinds of audiences: what the kind calls each, and its name
        in tokens."""
        claims = {claim: claim for kind in KINDS.values() for claim in kind.claims}
        return claims | {"topics": self.topics_claim, "subscribe": self.subscribe_claim}

    @property
    def unread_seconds(self) -> float:
        """Seconds for which a client may read nothing of what was sent to it.

        The kernel closes it then. Event streams need this, since they answer no ping.
        """
        return 2 * self.ping_interval_seconds

    @property
    def outbound_bytes(self) -> int:
        """Memory in bytes for everything that waits for slow clients."""
        share = memory_limit_bytes() * 3 // 16
        return share if self.outbound_max_bytes is None else self.outbound_max_bytes

    @property
    def inbound_bytes(self) -> int:
        """Memory in bytes for messages from clients that are not handled yet."""
        share = memory_limit_bytes() // 8
        return share if self.inbound_max_bytes is None else self.inbound_max_bytes

    @property
    def behind_bytes(self) -> int:
        """The bytes that may wait for a client before the pod counts them; see `Outbound`.

        For all clients together, that is half the budget for counted bytes.
        """
        share = self.outbound_bytes // (2 * self.max_connections)
        return min(max(share, _BEHIND_MIN_BYTES), _BEHIND_MAX_BYTES, self.max_unsent_bytes // 4)

    @property
    def subscribe_decision_seconds(self) -> float:
        """The time in which the application decides about a topic: a handshake waits for it."""
        return min(self.handler_seconds, self.handshake_seconds / 4)

    @property
    def recall_bytes(self) -> int:
        """The bytes of topics' past in one answer: a client must not be too slow for it."""
        return min(self.replay_client_max_bytes, self.max_unsent_bytes // 2)

    @property
    def pending_bytes(self) -> int:
        """Memory for events that wait for delivery."""
        share = memory_limit_bytes() // 16
        return share if self.pending_max_bytes is None else self.pending_max_bytes

    @property
    def max_sockets(self) -> int:
        """The most TCP connections on the public port, with and without a finished handshake."""
        return self.max_connections + max(_SOCKETS_SPARE_MIN, self.max_connections // 10)

    def within(self, sockets: int) -> Self:
        """These settings, with as few connections as so many sockets allow."""
        if self.max_sockets <= sockets:
            return self
        return self.model_copy(update={"max_connections": max(1, sockets * 10 // 11)})

    @property
    def beat_seconds(self) -> float:
        """Seconds between two heartbeats. Two in a row may be lost."""
        return self.heartbeat_seconds / _BEATS_PER_TIMEOUT

    @property
    def positions(self) -> Positions:
        """The rules for clients' positions: exact on one Redis, less so on a cluster."""
        if not self.keyspace.clustered:
            return ONE_CLOCK
        # The longest time for which a connection may lag behind unnoticed: from a probe that came
        # back late until the next one is given up. See `Prober.run`.
        behind_seconds = self.probe_interval_seconds + 2 * self.probe_timeout_seconds
        return SeveralClocks(round((behind_seconds + self.cluster_clock_seconds) * 1e6))

    @field_validator("pod_ip")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        """Check that it is an address: names are looked up nowhere."""
        return None if address is None else str(ip_address(address))

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, names: Names) -> Names:
        for name in names:
            ip_network(name)
        return names

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, names: Names) -> Names:
        check_entries(names)
        return names

    @model_validator(mode="after")
    def _signed_upstream(self) -> Self:
        if self.upstream_url is not None and self.upstream_secret is None:
            raise ValueError("expected GATEWAY_UPSTREAM_SECRET beside GATEWAY_UPSTREAM_URL")
        return self

    @field_validator("upstream_hooks")
    @classmethod
    def _are_hooks(cls, names: Names) -> Names:
        unknown = sorted(set(names) - _HOOKS)
        if unknown:
            raise ValueError(f"expected hooks out of {', '.join(sorted(_HOOKS))}, got {unknown}")
        return names

    @field_validator("upstream_topics")
    @classmethod
    def _are_patterns(cls, names: Names) -> Names:
        for name in names:
            check_pattern(name)
        return names

    @field_validator("upstream_secret")
    @classmethod
    def _can_sign(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            Signer(secret.get_secret_value().split())
        return secret

    @field_validator(
        "allowed_origins",
        "trusted_proxies",
        "dev_gateway_urls",
        "upstream_types",
        "upstream_hooks",
        "upstream_topics",
        mode="before",
    )
    @classmethod
    def _split_origins(cls, value: Any) -> Any:  # noqa: ANN401
        return split_names(value)
