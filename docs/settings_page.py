"""Makes docs/settings.md from the settings classes; a test compares it with the file.

Names, defaults, ranges and meanings are the classes'; only the advice stands here, one entry for
each setting. Write the page anew with ``python -m docs.settings_page``.
"""
# ruff: noqa: E501 - a row of a Markdown table is one line

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from clarion_contract.service.settings import ContractSettings, Names, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings

PAGE: Final = Path(__file__).parent / "settings.md"

_DERIVED_DEFAULTS: Final = {"pod": "the host name"}

_INTRODUCTION: Final = """\
<!-- Made by docs/settings_page.py. Change that file or the settings classes, then run
     `python -m docs.settings_page`. -->

# Settings

Both services are set up by environment variables alone. Each reads the shared ones (`CLARION_`) and
its own (`GATEWAY_` or `PUBLISHER_`). The classes are
[`contract/clarion_contract/service/settings.py`](../contract/clarion_contract/service/settings.py), [`gateway/clarion_gateway/settings.py`](../gateway/clarion_gateway/settings.py)
and [`publisher/clarion_publisher/settings.py`](../publisher/clarion_publisher/settings.py).

- A variable that is empty counts as unset. A variable that no class knows is ignored.
- The last part of a name is its unit: `_SECONDS`, `_BYTES`, `_EVENTS`.
- Yes or no: `true` or `false`. Lists: `a,b` or `["a","b"]`.
- Settings are read once, at the start. A value out of its range ends the process at once, with one
  line for each bad variable and exit code 2; so does a key, an algorithm or (gateway) an object of
  handlers that cannot be used. Values that may be secrets are not printed. Exit code 1: a port is
  taken.
- `rediss://` stands for TLS, also to Sentinels. User and password in a URL are Redis' own; those of
  Sentinels that ask for some go into its query: `?sentinel_username=…&sentinel_password=…`. Of a
  cluster name some nodes, in the hope that one of them answers; it tells of the others.

Exactly one of `CLARION_JWT_SECRET`, `CLARION_JWT_PUBLIC_KEY` and `CLARION_JWT_JWKS_URL` must be
set. Nothing else has to be.
"""

_SHARED: Final = """\
## Shared

Gateways and publishers that belong together need the same Redis, the same namespace and the same
history. Each may have a token setup of its own.
"""

_GATEWAY: Final = """\
## Gateway
"""

_PUBLISHER: Final = """\
## Publisher

`PUBLISHER_DATA_MAX_BYTES` may not exceed `PUBLISHER_BODY_MAX_BYTES`, nor that
`PUBLISHER_BODIES_MAX_BYTES`, nor `PUBLISHER_BATCH_MAX_EVENTS` `PUBLISHER_MAX_PENDING`.
"""

_REMAINDER: Final = """\
## Traces

Traces follow the standard variables of OpenTelemetry. They are off until one of the two endpoints
is set. See [metrics and traces](metrics.md#traces).

| Variable | Default | What it does |
|---|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` | unset: no traces | Base URL of an OTLP collector over HTTP, e.g. `http://collector:4318`; `/v1/traces` is added. |
| `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | unset | The same for traces alone; used as it is. |
| `OTEL_EXPORTER_OTLP_HEADERS` | none | Headers for the collector: `name=value,name=value`. |
| `OTEL_EXPORTER_OTLP_TIMEOUT` | 10 s | Time for one export. |
| `OTEL_EXPORTER_OTLP_COMPRESSION` | `none` | `gzip` compresses exports. |
| `OTEL_EXPORTER_OTLP_CERTIFICATE` | the system's | PEM file of the collector's authority. |
| `OTEL_TRACES_SAMPLER` | `parentbased_always_on` | Whether events are traced whose producer sent no `traceparent`. A producer's own decision not to sample always stands. |
| `OTEL_TRACES_SAMPLER_ARG` | none | E.g. `0.01` for `parentbased_traceidratio`. |
| `OTEL_RESOURCE_ATTRIBUTES` | none | More attributes for every span. |
| `OTEL_BSP_SCHEDULE_DELAY` | 5,000 ms | How long spans wait for their batch. |
| `OTEL_BSP_MAX_QUEUE_SIZE` | 2,048 | Spans that wait at most; more are dropped. |
| `OTEL_SDK_DISABLED` | `false` | `true` makes no spans at all. |

These have no effect: `OTEL_SERVICE_NAME` (always `clarion-gateway` or `clarion-publisher`),
`OTEL_EXPORTER_OTLP_PROTOCOL` (always `http/protobuf`), `OTEL_TRACES_EXPORTER` (always OTLP),
`OTEL_PROPAGATORS` (always W3C Trace Context), `OTEL_METRICS_*` and `OTEL_LOGS_*` (metrics are for
Prometheus to scrape, logs go to standard error).

## Command line

| Variable | What it does |
|---|---|
| `CLARION_TOKEN` | The token that the commands use instead of signing one. Excludes `clarion tail --user`. |
| `CLARION_PUBLISHER_URL` | The publisher of `clarion publish`, `users`, `connections` and `disconnect`. Default: the running `clarion up`. |
| `CLARION_GATEWAY_URL` | The gateways of `clarion tail`, separated by spaces. Default: the running `clarion up`. |
| `CLARION_STATE` | The folder for the local secret and addresses. Default: `.clarion`, here or in a parent folder. |
| `CLARION_JWT_SECRET`, `CLARION_JWT_AUDIENCE`, `CLARION_JWT_ISSUER` | What `clarion token` signs with and writes into its tokens. |
| `CLARION_REDIS_URL`, `GATEWAY_HANDLERS` | What `clarion up` uses instead of its own Valkey and the example. |

`clarion up` passes its environment on to the services, but sets their ports, hosts, names, secret
and profile itself. It shortens their drain, unless the environment names its times.
"""

_ADVICE: Final[dict[str, str]] = {
    # shared
    "redis_url": "Always in production.",
    "namespace": "Several environments share one Redis.",
    "history_max_events": "Clients come back with `resumed: false` although they were away for "
    "less than the age: raise. Redis needs memory: lower.",
    "history_max_age_seconds": "Clients stay away longer (phones in pockets): raise. It costs "
    "memory in Redis, and in each gateway's ring.",
    "idempotency_seconds": "Producers retry for longer than a day: raise. Each key costs memory in "
    "Redis: lower when there are many.",
    "wait_replicas": "Redis has replicas that may be promoted: as many as there are.",
    "wait_seconds": "Far replicas: raise. While too few live, every publish takes it.",
    "jwt_secret": "The issuer signs with a shared secret.",
    "jwt_public_key": "The issuer signs with one key pair that seldom changes.",
    "jwt_jwks_url": "The issuer is an identity provider that rotates its keys.",
    "jwt_algorithms": "The issuer uses another algorithm, e.g. EdDSA. Only algorithms that fit the "
    "kind of key are accepted.",
    "jwt_audience": "The issuer writes `aud` into its tokens.",
    "jwt_issuer": "Several issuers share keys.",
    "jwt_leeway_seconds": "Clocks of issuer and pods differ by more.",
    "token_max_seconds": "The issuer's tokens live longer: raise, or a revoked token comes back to "
    "life. They are short: lower, and revocations cost less memory.",
    "orders_max": "Many tokens are revoked. Each costs 180 bytes in Redis and 410 in every gateway.",
    "log_level": "`debug` while looking for something; `warning` to keep logs small.",
    "log_format": "A terminal is not recognised, or JSON is wanted on one.",
    "profile": "Never outside of development.",
    "pod": "The host name does not name the pod. Two gateways must not share a name: each would "
    "take the other's probe for its own.",
    # gateway
    "gateway.host": "Behind a proxy on the same machine: `127.0.0.1`.",
    "gateway.port": "The port is taken.",
    "gateway.internal_host": "As above.",
    "gateway.internal_port": "The port is taken. Never expose it.",
    "gateway.handlers": "The application has handlers of its own: [handlers](handlers.md).",
    "gateway.allow_anonymous": "Only logged-in users may connect: `false`. Logging out in band is "
    "then refused as well.",
    "gateway.allowed_origins": "The pages come from another host than the gateway's: name it. "
    "`*` lets every page on the web connect.",
    "gateway.max_connections": "Measure what a pod holds, then set it a little below, so that the "
    "autoscaler has time. Past it clients are turned away: `at_capacity`.",
    "gateway.max_connections_per_user": "Users have more tabs and devices, or one service account "
    "holds many.",
    "gateway.max_unsent_bytes": "Slow but patient clients are closed too early: raise. Memory of a "
    "pod is at risk: lower.",
    "gateway.message_max_bytes": "Clients send larger messages. Past it: 4413.",
    "gateway.messages_per_second": "Clients talk more (typing, cursors): raise. Past it: 4429.",
    "gateway.message_burst": "As above.",
    "gateway.handshake_seconds": "Very slow networks: raise.",
    "gateway.request_head_max_bytes": "Large cookies or tokens reach the gateway: raise.",
    "gateway.ping_interval_seconds": "A proxy on the way closes idle connections sooner: lower, "
    "below its timeout. Batteries matter: raise.",
    "gateway.token_grace_seconds": "Clients need longer to fetch a fresh token.",
    "gateway.handler_seconds": "Handlers wait for something slow: raise. Past it: `timeout`.",
    "gateway.handler_threads": "Many plain-function handlers block at the same time. One that hangs "
    "keeps its slot until it ends by itself.",
    "gateway.handler_backlog": "Rarely. Past it the client's messages wait in the network.",
    "gateway.replay_max_bytes": "Events are large or many and resumes read Redis "
    "(`clarion_resume_sources_total`): raise.",
    "gateway.replay_max_events": "Clients that missed more should not start anew: raise.",
    "gateway.pending_max_events": "Rarely. Bounds a pod's memory while it falls behind.",
    "gateway.publish_max_pending": "Rarely. Past it handlers' publishes fail with `unavailable`.",
    "gateway.probe_interval_seconds": "A silent subscription should be found sooner: lower. Each "
    "probe is one publish. Readiness fails when none came back for interval + timeout.",
    "gateway.probe_timeout_seconds": "Redis is far away or often stalls: raise.",
    "gateway.heartbeat_seconds": "What a killed pod held must be out of the presence sooner: lower. "
    "Redis or the pods stall for longer than that: raise.",
    "gateway.rebalance": "Gateways are added while clients stay for hours: [scale](kubernetes.md#scale).",
    "gateway.rebalance_ratio": "Counts are nearly even and clients still move: raise.",
    "gateway.rebalance_per_second": "Counts take too long to even out: raise. What all full pods send "
    "on must be less than what the others' handshakes can take.",
    "gateway.cluster_clock_seconds": "The nodes' clocks are not kept together: raise. The probes' "
    "interval and twice their timeout come on top; all three the same on every gateway.",
    "gateway.linger_seconds": "Users come and go faster than Redis likes: raise.",
    "gateway.compression": "Traffic costs more than CPU, and events are large.",
    "gateway.drain_pause_seconds": "The load balancer takes longer to notice. A pod without "
    "connections pauses too.",
    "gateway.drain_spread_seconds": "Many clients per pod: raise, and "
    "`terminationGracePeriodSeconds` with it, which must exceed pause + spread + grace.",
    "gateway.drain_grace_seconds": "Handlers take longer. The process exits when all sockets are "
    "closed and all handlers done, or when this time is over.",
    "gateway.pod_deletion_cost": "On Kubernetes, by the chart's `gateway.podDeletionCost`, which also "
    "gives the pod the right to do it.",
    "gateway.pod_deletion_cost_interval_seconds": "Hundreds of pods: raise. Each write is one for the "
    "cluster's database.",
    "gateway.dev_publisher_url": "The page of the dev profile should publish elsewhere.",
    # publisher
    "publisher.host": "Behind a proxy on the same machine: `127.0.0.1`.",
    "publisher.port": "The port is taken.",
    "publisher.internal_host": "As above.",
    "publisher.internal_port": "The port is taken. Never expose it.",
    "publisher.data_max_bytes": "Events are larger. Each gateway holds them in memory and writes "
    "them to every receiver. Past it: 413.",
    "publisher.body_max_bytes": "Batches are larger. Past it: 413.",
    "publisher.bodies_max_bytes": "Less than the pod's memory limit, with room to spare.",
    "publisher.batch_max_events": "Rarely. Larger batches hold up others.",
    "publisher.max_pending": "Rarely. Bounds memory while Redis is slow.",
    "publisher.rate_events_per_second": "One producer must not starve the others.",
    "publisher.rate_burst_events": "As above.",
    "publisher.request_head_max_bytes": "Large tokens: raise. Past it: 431.",
    "publisher.request_seconds": "Large bodies over slow links: raise. Past it: 408.",
    "publisher.body_bytes_per_second": "Producers on links that stall for seconds: lower. Past it: 408.",
    "publisher.max_sockets": "More producers keep connections open: raise, and the file descriptors "
    "of the process.",
    "publisher.keep_alive_seconds": "The load balancer's own idle time is longer: raise above it.",
    "publisher.drain_pause_seconds": "The load balancer takes longer to notice.",
    "publisher.drain_grace_seconds": "Requests take longer. `terminationGracePeriodSeconds` must "
    "exceed pause + grace.",
    "publisher.allowed_origins": "Only in development.",
}


def render() -> str:
    """The text of docs/settings.md.

    Raises:
        KeyError: a setting without advice, or advice for a setting that does not exist.
    """
    shared = ContractSettings.model_fields
    own = {
        "gateway": _own_fields(GatewaySettings),
        "publisher": _own_fields(PublisherSettings),
    }
    _check_advice({*shared, *(f"{name}.{field}" for name in own for field in own[name])})
    return "\n".join(
        (
            _INTRODUCTION,
            _SHARED,
            _table(ContractSettings, shared, ""),
            _GATEWAY,
            _table(GatewaySettings, own["gateway"], "gateway."),
            _PUBLISHER,
            _table(PublisherSettings, own["publisher"], "publisher."),
            _REMAINDER,
        )
    )


def _own_fields(cls: type[ContractSettings]) -> dict[str, FieldInfo]:
    shared = ContractSettings.model_fields
    return {name: field for name, field in cls.model_fields.items() if name not in shared}


def _check_advice(settings: set[str]) -> None:
    missing, unknown = sorted(settings - _ADVICE.keys()), sorted(_ADVICE.keys() - settings)
    if missing or unknown:
        raise KeyError(f"expected advice for every setting; missing {missing}, unknown {unknown}")


def _table(cls: type[ContractSettings], fields: dict[str, FieldInfo], prefix: str) -> str:
    rows = [
        "| Variable | Default | Allowed | What it does | When to change it |",
        "|---|---|---|---|---|",
    ]
    for name, field in fields.items():
        cells = (
            f"`{variable(cls, name)}`",
            _default(name, field),
            _allowed(field),
            field.description or "",
            _ADVICE[prefix + name],
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(name: str, field: FieldInfo) -> str:
    if name in _DERIVED_DEFAULTS:
        return _DERIVED_DEFAULTS[name]
    value = field.default
    if value is None:
        return "unset"
    if value == ():
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = f"`{value}`"
    return f"{text} ({_binary(value)})" if name.endswith("_bytes") else text


def _allowed(field: FieldInfo) -> str:
    """The range or the kind of value."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    if kind in {int, float}:
        return _range(field)
    if kind == Names or kind == tuple[str, ...]:
        return "list"
    patterns = [pattern for each in field.metadata if (pattern := getattr(each, "pattern", None))]
    if patterns:
        return f"`{patterns[0]}`"
    kinds = {each for each in get_args(kind) if each is not NoneType}
    return "secret" if SecretStr in kinds else "text"


def _range(field: FieldInfo) -> str:
    bounds: dict[str, Any] = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("ge", "gt", "le")
        if getattr(each, name, None) is not None
    }
    low = f"{bounds['ge']:,}" if "ge" in bounds else f"above {bounds['gt']:,}"
    return f"{low} to {bounds['le']:,}"


def _binary(size_bytes: int) -> str:
    for exponent, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size_bytes >= 1 << exponent:
            return f"{size_bytes / (1 << exponent):g} {unit}"
    return f"{size_bytes} B"


def main() -> None:
    """Write the page."""
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
