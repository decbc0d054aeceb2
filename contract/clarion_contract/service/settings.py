"""Settings that both services share, read from the environment with the prefix ``CLARION_``.

Each service derives its own frozen class from `ContractSettings` and adds fields of its own prefix.
docs/settings.md lists all settings; a test fails when one is missing there.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.topic_rules import TopicRules
from clarion_contract.redis.keyspace import Keyspace
from clarion_contract.redis.server import Replication
from clarion_contract.redis.url import parse_redis_url, with_login
from clarion_contract.service.secret_settings import (
    MAY_HOLD_SECRET,
    BadFile,
    SecretFiles,
    holds_secret,
)
from clarion_contract.service.topic_rules_file import BadRules, read_topic_rules
from clarion_contract.texts.writer import FLUSH_SECONDS, LEASE_SECONDS, MAX_BYTES

SECRET_MIN_BYTES: Final = 32
TOKEN_MAX_BYTES: Final = 24_576
"""Default for the size of a token: 200 names of 80 characters, in base64, and a signature."""

# Errors in numbers and choices show the bad value. Any other value may be a secret.
_SHOWN: Final = ("int", "float", "bool", "literal", "greater", "less")

EVERY_ADDRESS: Final = "`::` means all addresses, IPv6 and IPv4; on a host without IPv6, `0.0.0.0`."


@dataclass(frozen=True)
class Expected:
    """Marks a setting that has a pattern: ``Annotated[str, Expected("a name")]``.

    Attributes:
        form: what the pattern means, in words that end an error: "expected …".
    """

    form: str


PathPrefix = Annotated[
    str,
    BeforeValidator(lambda value: value.rstrip("/") if isinstance(value, str) else value),
    Expected("a path such as /realtime, or nothing"),
    Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$"),
]
"""The beginning of all public paths of a service, without the last slash."""

HealthPath = Annotated[
    str,
    Expected("a path such as /health, or off"),
    Field(pattern=r"^(off|/[A-Za-z0-9._~/-]*)$"),
]
"""A path on the public port at which load balancers ask, or ``off``."""

HTTP_URL: Final = Expected("a URL that begins with http:// or https://")

HEALTH_PATH_MEANING: Final = (
    "Path on the public port, below the prefix, at which load balancers get 200, and 503 while the "
    "pod drains. It tells nothing else. `off`: there is none."
)

Names = Annotated[tuple[str, ...], NoDecode]
"""Several values in one variable: separated by commas, or a JSON list."""


def split_names(value: Any) -> Any:  # noqa: ANN401 - what the environment holds before validation
    """``"a, b"`` and ``'["a", "b"]'`` as ``("a", "b")``; anything else unchanged."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return tuple(name.strip() for name in value.split(",") if name.strip())


def one_or_list(value: Any) -> Any:  # noqa: ANN401 - what the environment holds before validation
    """``"a"`` as ``("a",)``, ``'["a", "b"]'`` as ``("a", "b")``; anything else unchanged.

    Raises:
        ValueError: a comma outside a JSON list. Earlier versions took it for a part of the name.
    """
    if isinstance(value, str) and "," in value and not value.lstrip().startswith("["):
        raise ValueError('expected one name, or a JSON list such as ["a", "b"], got a comma')
    return split_names(value)


class InvalidSettings(Exception):
    """Settings with which the service cannot start.

    Attributes:
        problems: one line per problem, which names the variable.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ContractSettings(BaseSettings):
    """Redis, history, tokens and logs: what gateway and publisher must agree on."""

    model_config = SettingsConfigDict(
        frozen=True, populate_by_name=True, extra="ignore", env_ignore_empty=True
    )

    redis_url: Annotated[str, MAY_HOLD_SECRET] = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias="CLARION_REDIS_URL",
        repr=False,
        description="URL of Redis or Valkey, 7.0 or newer: redis://[user:password@]host:port/db, "
        "redis+sentinel://[user:password@]host:26379,host:26379/service/db or "
        "redis+cluster://[user:password@]host:6379,host:6379. Write rediss for TLS.",
    )
    redis_username: SecretStr | None = Field(
        None,
        validation_alias="CLARION_REDIS_USERNAME",
        description="User of Redis' ACL, in place of one in the URL. Needs no percent-encoding.",
    )
    redis_password: SecretStr | None = Field(
        None,
        validation_alias="CLARION_REDIS_PASSWORD",
        description="Password of Redis, in place of one in the URL. Needs no percent-encoding. "
        "Sentinels have their own, in the query of the URL.",
    )
    namespace: Annotated[str, Expected("1 to 64 of A-Z a-z 0-9 _ . -")] = Field(
        "clarion",
        validation_alias="CLARION_NAMESPACE",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Prefix of every key and channel. Several installations can share a Redis if "
        "each has its own.",
    )
    history_max_events: int = Field(
        10_000,
        validation_alias="CLARION_HISTORY_MAX_EVENTS",
        ge=1,
        le=10_000_000,
        description="How many events Redis keeps per stream for clients that resume.",
    )
    history_max_age_seconds: int = Field(
        600,
        validation_alias="CLARION_HISTORY_MAX_AGE_SECONDS",
        ge=1,
        le=30 * 86_400,
        description="How long Redis keeps events per stream for clients that resume.",
    )
    topic_rules: str | None = Field(
        None,
        validation_alias="CLARION_TOPIC_RULES",
        description="Path of a YAML or JSON file with rules for topics, or the JSON itself. See "
        "[rules for topics](publishing.md#rules-for-topics).",
    )
    text_flush_seconds: float = Field(
        FLUSH_SECONDS,
        validation_alias="CLARION_TEXT_FLUSH_SECONDS",
        ge=0.005,
        le=5,
        description="The least time between two events of one [growing text]"
        "(publishing.md#growing-texts). All that is written meanwhile leaves in one event.",
    )
    text_max_bytes: int = Field(
        MAX_BYTES,
        validation_alias="CLARION_TEXT_MAX_BYTES",
        ge=1_024,
        le=16 << 20,
        description="The largest growing text, as it stands in JSON. A larger one fails. A client "
        "gets it in one message, so keep it below half of GATEWAY_MAX_UNSENT_BYTES.",
    )
    text_lease_seconds: float = Field(
        LEASE_SECONDS,
        validation_alias="CLARION_TEXT_LEASE_SECONDS",
        ge=1,
        le=3_600,
        description="How long the producer of a growing text may be silent. Then it counts as "
        "dead, and clients are told that the text has failed.",
    )
    idempotency_seconds: int = Field(
        86_400,
        validation_alias="CLARION_IDEMPOTENCY_SECONDS",
        ge=1,
        le=30 * 86_400,
        description="How long Redis remembers an idempotency key.",
    )
    wait_replicas: int = Field(
        0,
        validation_alias="CLARION_WAIT_REPLICAS",
        ge=0,
        le=5,
        description="How many replicas of Redis must have an event or a revocation before Clarion "
        "confirms it, with 201 or 200, or with the reply of a handler that publishes. If too few "
        "have it in time, the answer is 503 (`unavailable` for a client's message); a retry with "
        "the same key is safe. With 0, a failover may lose what was accepted just before.",
    )
    wait_seconds: float = Field(
        1,
        validation_alias="CLARION_WAIT_SECONDS",
        ge=0.01,
        le=4,
        description="How long Clarion waits for CLARION_WAIT_REPLICAS replicas.",
    )
    jwt_secret: SecretStr | None = Field(
        None,
        validation_alias="CLARION_JWT_SECRET",
        description="Shared secret of HS256 tokens, at least 32 bytes (RFC 7518, section 3.2).",
    )
    jwt_public_key: str | None = Field(
        None,
        validation_alias="CLARION_JWT_PUBLIC_KEY",
        description="Public key of RS256 or ES256 tokens: PEM, or the path of a PEM file.",
    )
    jwt_jwks_url: Annotated[str | None, MAY_HOLD_SECRET, HTTP_URL] = Field(
        None,
        validation_alias="CLARION_JWT_JWKS_URL",
        pattern=r"^https?://",
        description="URL at which the issuer publishes its keys (RFC 7517).",
    )
    jwt_algorithms: Names = Field(
        (),
        validation_alias="CLARION_JWT_ALGORITHMS",
        description="Accepted algorithms. Empty means HS256 for a secret, RS256 and ES256 "
        "otherwise.",
    )
    jwt_audience: Names = Field(
        (),
        validation_alias="CLARION_JWT_AUDIENCE",
        description="Expected `aud` claim: one name, or a JSON list of names, one of which must "
        "stand in the token. If unset, tokens that name an audience are refused.",
    )
    jwt_issuer: Names = Field(
        (),
        validation_alias="CLARION_JWT_ISSUER",
        description="Expected `iss` claim: one name, or a JSON list of names. If unset, any issuer "
        "is accepted.",
    )
    jwt_client_id: Names = Field(
        (),
        validation_alias="CLARION_JWT_CLIENT_ID",
        description="Accepted applications for tokens without `aud`: one id, or a JSON list of "
        "ids. The token's `client_id` counts, or else its `azp`.",
    )
    jwt_scope_claims: Names = Field(
        ("scope", "scp", "permissions", "roles"),
        validation_alias="CLARION_JWT_SCOPE_CLAIMS",
        min_length=1,
        description="Claims that hold scopes, as text with spaces or as a list. The first one that "
        "a token has counts. A path such as `realm_access.roles` leads into objects. "
        "`scope=clarion/` takes only scopes that begin with `clarion/`, without that prefix.",
    )
    jwt_user_claim: str = Field(
        "sub",
        validation_alias="CLARION_JWT_USER_CLAIM",
        min_length=1,
        description="Claim with the user's id, or a path such as `ext.user_id`. Publishers always "
        "name their callers by `sub`.",
    )
    jwt_leeway_seconds: int = Field(
        5,
        validation_alias="CLARION_JWT_LEEWAY_SECONDS",
        ge=0,
        le=300,
        description="Tolerated clock difference when `exp`, `nbf` and `iat` are checked.",
    )
    token_max_seconds: int = Field(
        86_400,
        validation_alias="CLARION_TOKEN_MAX_SECONDS",
        ge=60,
        le=366 * 86_400,
        description="The longest life of a token. A token that ends later than this from now is "
        "refused. A revocation without an end of its own is kept for this time.",
    )
    token_max_bytes: int = Field(
        TOKEN_MAX_BYTES,
        validation_alias="CLARION_TOKEN_MAX_BYTES",
        ge=1_024,
        le=1 << 20,
        description="Largest size of a token. The default has room for the names of 200 groups.",
    )
    orders_max: int = Field(
        100_000,
        validation_alias="CLARION_ORDERS_MAX",
        ge=100,
        le=10_000_000,
        description="How many revocations and disconnects may be in force at the same time. Past "
        "it, the publisher answers 503.",
    )
    catalogue: Path | None = Field(
        None,
        validation_alias="CLARION_CATALOGUE",
        description="File, or directory of files, that declares events: which types there are, and "
        "what each may hold. Read again when it changes. Unset: nothing is declared.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        validation_alias="CLARION_LOG_LEVEL",
        description="Least severe level that is logged.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        validation_alias="CLARION_LOG_FORMAT",
        description="`auto` means console on a terminal and JSON lines elsewhere.",
    )
    profile: Literal["production", "dev"] = Field(
        "production",
        validation_alias="CLARION_PROFILE",
        description="`dev` adds the gateway's page at /, which must never face the internet.",
    )
    pod: Annotated[str, Expected("1 to 253 of A-Z a-z 0-9 _ . -")] = Field(
        default_factory=socket.gethostname,
        validation_alias="CLARION_POD",
        pattern=r"^[A-Za-z0-9_.-]{1,253}$",
        description="Name of this instance in metrics, traces and `welcome`.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, files of secrets, then variables. The first one that has a setting counts."""
        files = SecretFiles(settings_cls)
        return init_settings, files, env_settings, dotenv_settings, file_secret_settings

    @field_validator("*", mode="before")
    @classmethod
    def _was_read(cls, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, BadFile):
            raise ValueError(value.reason)
        return value

    @field_validator("jwt_algorithms", "jwt_scope_claims", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:  # noqa: ANN401
        return split_names(value)

    @field_validator("jwt_audience", "jwt_issuer", "jwt_client_id", mode="before")
    @classmethod
    def _one_or_list(cls, value: Any) -> Any:  # noqa: ANN401
        return one_or_list(value)

    @field_validator("redis_url")
    @classmethod
    def _known_to_redis(cls, url: str) -> str:
        parse_redis_url(url)
        return url

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and len(secret.get_secret_value().encode()) < SECRET_MIN_BYTES:
            raise ValueError(f"expected a secret of {SECRET_MIN_BYTES} bytes or more")
        return secret

    @field_validator("jwt_public_key")
    @classmethod
    def _read_key_file(cls, key: str | None) -> str | None:
        if key is None or key.lstrip().startswith("-----BEGIN"):
            return key
        try:
            return Path(key).read_text()
        except OSError as error:
            raise ValueError(f"expected PEM or the path of a PEM file: {error}") from None

    @model_validator(mode="after")
    def _one_key_source(self) -> Self:
        sources = [self.jwt_secret, self.jwt_public_key, self.jwt_jwks_url]
        if sum(source is not None for source in sources) != 1:
            raise ValueError(
                "expected exactly one of CLARION_JWT_SECRET, CLARION_JWT_PUBLIC_KEY and "
                "CLARION_JWT_JWKS_URL"
            )
        return self

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        _ = self.redis_address
        return self

    @model_validator(mode="after")
    def _good_rules(self) -> Self:
        _ = self.rules
        return self

    @cached_property
    def rules(self) -> TopicRules:
        """The rules for topics."""
        return read_topic_rules(self.topic_rules, max_age_seconds=self.history_max_age_seconds)

    @property
    def redis_address(self) -> str:
        """The URL of Redis with its login, which is a secret."""
        username, password = (
            given.get_secret_value() if given else None
            for given in (self.redis_username, self.redis_password)
        )
        return with_login(self.redis_url, username, password)

    @property
    def keyspace(self) -> Keyspace:
        """The names of keys and channels in Redis."""
        url = parse_redis_url(self.redis_url)
        return Keyspace(
            self.namespace, clustered=bool(url.nodes), database=int(url.options.get("db") or 0)
        )

    @property
    def history(self) -> HistoryLimits:
        """The limits of the history in Redis."""
        return HistoryLimits(
            self.history_max_events,
            self.history_max_age_seconds,
            self.idempotency_seconds,
            self.rules,
        )

    @property
    def replication(self) -> Replication:
        """The number of replicas that must have an event before it counts as accepted."""
        return Replication(self.wait_replicas, self.wait_seconds)


AnySettings = TypeVar("AnySettings", bound=ContractSettings)


def load(cls: type[AnySettings]) -> AnySettings:
    """The settings in the environment.

    Raises:
        InvalidSettings: one line per bad variable, and per fault in the file of rules, without
            values that may be secret.
    """
    try:
        return cls()
    except ValidationError as error:
        details = error.errors()
        raise InvalidSettings([line for each in details for line in _lines(cls, each)]) from None


def _field(cls: type[ContractSettings], name: str) -> FieldInfo:
    """The field of a name, or of an alias, as errors have it."""
    fields = cls.model_fields
    return fields.get(name) or next(
        each for each in fields.values() if each.validation_alias == name
    )


def variable(cls: type[ContractSettings], field: str) -> str:
    """The environment variable that sets a field."""
    alias = cls.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else (cls.model_config["env_prefix"] + field).upper()


def _lines(cls: type[ContractSettings], detail: ErrorDetails) -> list[str]:
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, BadRules):
        return [f"{variable(cls, 'topic_rules')}: {fault}" for fault in error.faults]
    return [_line(cls, detail)]


def _line(cls: type[ContractSettings], detail: ErrorDetails) -> str:
    message = detail["msg"].removeprefix("Value error, ").replace("\n", " ")
    value = detail["input"]
    is_shown = detail["type"].startswith(_SHOWN)
    if detail["type"] == "string_pattern_mismatch":
        field = _field(cls, str(detail["loc"][0]))
        forms = [each.form for each in field.metadata if isinstance(each, Expected)]
        message = f"expected {forms[0]}"
        is_shown = not holds_secret(field)
    if is_shown and isinstance(value, str):
        message += f", got {value[:64]!r}"
        if value.startswith("tcp://"):
            message += (
                ": Kubernetes sets it for a Service of that name; say enableServiceLinks: false"
            )
    if not detail["loc"]:
        return message
    name = str(detail["loc"][0])
    return f"{variable(cls, name) if name in cls.model_fields else name}: {message}"
