"""The publisher's own settings, read from the environment with the prefix ``PUBLISHER_``."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from clarion_contract.redis.url import parse_redis_url
from clarion_contract.service.declared_events import Undeclared
from clarion_contract.service.origins import check_entries
from clarion_contract.service.postgres_url import check_postgres_url, with_postgres_login
from clarion_contract.service.secret_settings import MAY_HOLD_SECRET
from clarion_contract.service.settings import (
    EVERY_ADDRESS,
    HEALTH_PATH_MEANING,
    ContractSettings,
    HealthPath,
    Names,
    PathPrefix,
    split_names,
)
from clarion_publisher.audience_rules import AudienceRules

SocketIoName = Annotated[str, Field(min_length=1, max_length=128)]
"""A name in the Redis of Socket.IO's producers, or ``off``."""


class PublisherSettings(ContractSettings):
    """All settings of a publisher pod. docs/settings.md explains each."""

    model_config = SettingsConfigDict(env_prefix="PUBLISHER_")

    host: str = Field("::", description=f"Address of the public port. {EVERY_ADDRESS}")
    port: int = Field(8080, ge=0, le=65_535, description="Public port: /v1/events.")
    health_path: HealthPath = Field("/health", description=HEALTH_PATH_MEANING)
    path_prefix: PathPrefix = Field(
        "",
        description="Beginning of all public paths, for a host that others share: with "
        "`/events`, clients use `/events/v1/events`.",
    )
    internal_host: str = Field("::", description=f"Address of the internal port. {EVERY_ADDRESS}")
    internal_port: int = Field(
        9090, ge=0, le=65_535, description="Internal port: /metrics, /healthz, /readyz."
    )
    data_max_bytes: int = Field(
        64 << 10, ge=2, le=16 << 20, description="Largest `data` of one event, as JSON text."
    )
    body_max_bytes: int = Field(
        8 << 20, ge=1_024, le=256 << 20, description="Largest body of one request."
    )
    bodies_max_bytes: int = Field(
        256 << 20,
        ge=1_024,
        le=64 << 30,
        description="Memory for the bodies of all requests under way, as far as they have arrived. "
        "One caller may hold as much as is still free. Past it, the answer is 503; callers may "
        "retry.",
    )
    batch_max_events: int = Field(
        1_000, ge=1, le=10_000, description="The most events in one batch."
    )
    undeclared: Undeclared = Field(
        "allow",
        description="What becomes of an event whose type `CLARION_CATALOGUE` does not declare: "
        "`allow` takes it, `warn` also logs and counts it, `refuse` answers 422.",
    )
    cloudevents_audiences: Names = Field(
        (),
        description="Rules for CloudEvents without `clarionaudience`: a type or a pattern, `=`, "
        "and the audience, such as `order.*=user:{subject}`. The first one that covers the type "
        "counts.",
    )
    max_pending: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="How many events may wait for Redis. Past it, the answer is 503; callers may "
        "retry.",
    )
    probe_interval_seconds: float = Field(
        5,
        gt=0,
        le=300,
        description="Seconds between the probes with which the pod proves that it can publish.",
    )
    probe_timeout_seconds: float = Field(
        2,
        gt=0,
        le=300,
        description="How long Redis may take for a probe before the pod is not ready. "
        "CLARION_WAIT_SECONDS comes on top where replicas are waited for.",
    )
    rate_events_per_second: float = Field(
        0,
        ge=0,
        le=1_000_000,
        description="How many events per second one caller (`sub`) may publish through one pod on "
        "average. Past it, the answer is 429. 0 means no limit.",
    )
    rate_burst_events: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="How many events one caller may publish at once before the rate counts.",
    )
    request_head_max_bytes: int = Field(
        32_768, ge=1_024, le=1 << 20, description="Largest size of a request's line and headers."
    )
    request_seconds: float = Field(
        30,
        gt=0,
        le=600,
        description="Longest time for a request to come in, from first to last byte.",
    )
    body_bytes_per_second: float = Field(
        1_024,
        ge=0,
        le=1 << 30,
        description="Least rate at which a request's body must come in, over 5 seconds. 0: none.",
    )
    max_sockets: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="TCP connections on the public port at most, idle ones included. Past it: 503.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3_600,
        description="How long an idle connection stays open. It must be longer than the load "
        "balancer's own time. Otherwise the load balancer may use a connection that is just being "
        "closed, and answer 502.",
    )
    drain_pause_seconds: float = Field(
        5,
        ge=0,
        le=600,
        description="Time from SIGTERM to the last accepted connection, in which load balancers "
        "notice.",
    )
    drain_grace_seconds: int = Field(
        20,
        ge=1,
        le=600,
        description="Longest time after the pause for requests under way to finish.",
    )
    allowed_origins: Names = Field(
        (),
        description="Origins whose pages may publish (CORS), e.g. http://127.0.0.1:8001. Only for "
        "development, since such a page holds a token with publish scopes.",
    )

    outbox_url: Annotated[str | None, MAY_HOLD_SECRET] = Field(
        None,
        validation_alias="PUBLISHER_OUTBOX_URL",
        repr=False,
        description="URL of the PostgreSQL database with the outbox, 14 or newer: "
        "postgresql://[user:password@]host:port/database. Several hosts, separated by commas, are "
        "those of one database with failover. Needs the extra `postgres`.",
    )
    outbox_username: SecretStr | None = Field(
        None,
        validation_alias="PUBLISHER_OUTBOX_USERNAME",
        description="User of PostgreSQL, in place of one in the URL. Needs no percent-encoding.",
    )
    outbox_password: SecretStr | None = Field(
        None,
        validation_alias="PUBLISHER_OUTBOX_PASSWORD",
        description="Password of PostgreSQL, in place of one in the URL. Needs no "
        "percent-encoding.",
    )
    outbox_poll_seconds: float = Field(
        0.25,
        ge=0.01,
        le=60,
        description="Time between two looks at an outbox without rows. NOTIFY wakes the publisher "
        "sooner, where the outbox has its trigger and no pooler is between.",
    )
    outbox_batch_rows: int = Field(
        500,
        ge=1,
        le=10_000,
        description="How many rows of the outbox are read and published together at most.",
    )
    outbox_keep_refused_seconds: int = Field(
        7 * 86_400,
        ge=0,
        le=366 * 86_400,
        description="How long rows that can never be published stay in `clarion_outbox_refused`.",
    )

    socketio_redis_url: Annotated[str | None, MAY_HOLD_SECRET] = Field(
        None,
        repr=False,
        description="URL of the Redis into which producers of Socket.IO write, in a form of "
        "CLARION_REDIS_URL; it may be the same server. Set it to publish what they write.",
    )
    socketio_stream: SocketIoName = Field(
        "socket.io",
        description="Redis stream of `@socket.io/redis-streams-emitter`. `off`: it is not read.",
    )
    socketio_key: SocketIoName = Field(
        "socket.io",
        description="`key` of `@socket.io/redis-emitter`, with which its channels begin. `off`: "
        "they are not heard.",
    )
    socketio_channel: SocketIoName = Field(
        "socketio",
        description="Channel of python-socketio's managers. `off`: it is not heard.",
    )
    socketio_user_rooms: str = Field(
        "",
        max_length=64,
        description="Beginning of the names of rooms that are users, such as `user:`. Then an "
        "event for the room `user:alice` goes to the user `alice`. Empty: every room is a topic.",
    )
    socketio_scopes: Names = Field(
        (),
        description="The rights of producers of Socket.IO, all of them together: scopes as in a "
        "token, such as `publish:topic:chat.**`. Empty: publish to everybody, move sockets between "
        "topics (`users:topics`), disconnect them (`users:disconnect`).",
    )
    socketio_poll_seconds: float = Field(
        0.1,
        ge=0.01,
        le=60,
        description="Time between two looks at a stream without new entries.",
    )

    @field_validator("socketio_redis_url")
    @classmethod
    def _known_to_socketio(cls, url: str | None) -> str | None:
        if url is not None:
            parse_redis_url(url)
        return url

    @field_validator("outbox_url")
    @classmethod
    def _known_to_postgres(cls, url: str | None) -> str | None:
        return url if url is None else check_postgres_url(url)

    @property
    def outbox_address(self) -> str | None:
        """The URL of the outbox with its login, which is a secret; None: there is no outbox."""
        if self.outbox_url is None:
            return None
        username, password = (
            given.get_secret_value() if given else None
            for given in (self.outbox_username, self.outbox_password)
        )
        return with_postgres_login(self.outbox_url, username, password)

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, names: Names) -> Names:
        check_entries(names)
        return names

    @field_validator("cloudevents_audiences")
    @classmethod
    def _are_rules(cls, entries: Names) -> Names:
        AudienceRules.parse(entries)
        return entries

    @field_validator("allowed_origins", "cloudevents_audiences", "socketio_scopes", mode="before")
    @classmethod
    def _split_lists(cls, value: Any) -> Any:  # noqa: ANN401
        return split_names(value)

    @model_validator(mode="after")
    def _one_outbox_login(self) -> Self:
        if self.outbox_url is None and (self.outbox_username or self.outbox_password):
            raise ValueError("expected PUBLISHER_OUTBOX_URL beside a user or password for it")
        _ = self.outbox_address
        return self

    @model_validator(mode="after")
    def _room_for_a_body(self) -> Self:
        for smaller, larger in (
            ("data_max_bytes", "body_max_bytes"),
            ("body_max_bytes", "bodies_max_bytes"),
            ("batch_max_events", "max_pending"),
            *((("outbox_batch_rows", "max_pending"),) if self.outbox_url else ()),
        ):
            if getattr(self, smaller) > getattr(self, larger):
                raise ValueError(
                    f"expected PUBLISHER_{smaller.upper()} to be at most "
                    f"PUBLISHER_{larger.upper()}, got {getattr(self, smaller)} and "
                    f"{getattr(self, larger)}"
                )
        return self
