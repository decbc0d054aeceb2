"""Generates docs/settings.md from the settings classes; a test compares it with the file.

Names, defaults, ranges and meanings come from the classes. This file holds only the advice, one
entry for each setting. To write the page again, run ``python -m docs.settings_page``.
"""
# ruff: noqa: E501 - a row of a Markdown table is one line

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from clarion_contract.service.secret_settings import holds_secret
from clarion_contract.service.settings import ContractSettings, Names, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings

PAGE: Final = Path(__file__).parent / "settings.md"

_DERIVED_DEFAULTS: Final = {"pod": "the host name"}

_INTRODUCTION: Final = """\
<!-- Made by docs/settings_page.py. Change that file or the settings classes, then run
     `python -m docs.settings_page`. -->

# Settings

This page is for operators. It lists every setting of the two services, with its default, its allowed values,
and the situations in which you should change it.

Environment variables are the only configuration. Each service reads the shared ones (`CLARION_`) and its
own (`GATEWAY_` or `PUBLISHER_`). You must set exactly one of `CLARION_JWT_SECRET`, `CLARION_JWT_PUBLIC_KEY`
and `CLARION_JWT_JWKS_URL`. Everything else has a default.

- An empty variable counts as unset. If a variable begins with one of these prefixes, or nearly so, and is no
  setting, the service logs a warning with the nearest name. `clarion check` reports it, too.
- The last part of a name is its unit: `_SECONDS`, `_BYTES`, `_EVENTS`.
- Yes or no is `true` or `false`. A list is `a,b` or `["a","b"]`.
- A service reads its settings once, when it starts. It ends at once with exit code 2 if a value is out of its
  range, or if it cannot use a key, an algorithm or (gateway) the handlers. It prints one line for each bad
  variable, and never prints values that may be secrets. Exit code 1 means that a port is taken.
- `rediss://` means TLS, also to Sentinels. User and password in a URL are those of Redis. If the Sentinels need
  their own, write them into the query: `?sentinel_username=…&sentinel_password=…`. For a cluster, name
  several nodes; the one that answers tells of the others.
- User and password of Redis may stand apart from its URL: in `CLARION_REDIS_USERNAME` and `CLARION_REDIS_PASSWORD`, as
  they are. They work with every form of URL. The URL may have one of the two and the variable the other. If both have
  the same one, the service does not start.
- Each secret may be in a file. Add `_FILE` to the name of its variable, and set it to the path: with
  `CLARION_REDIS_PASSWORD_FILE=/run/secrets/redis`, the password is what the file holds, without a newline at its end.
  The files are read once, at the start. If a file cannot be read or is empty, or if the variable without `_FILE` is set
  as well, the service does not start. These settings have it:
  FILES.
- Options in the query of a URL: `db`; `protocol` (2 or 3, for commands; the default 2 also works with proxies that do
  not know `HELLO`); `client_name`; `username` and `password`; `socket_read_size`; and with `rediss` those of TLS:
  `ssl_ca_certs`, `ssl_ca_path`, `ssl_ca_data`, `ssl_certfile`, `ssl_keyfile`, `ssl_password`, `ssl_cert_reqs`,
  `ssl_check_hostname`, `ssl_min_version`, `ssl_ciphers`, `ssl_include_verify_flags` and `ssl_exclude_verify_flags`. Any
  other option ends the start, with a line that says why.
- Write `/ ? # & @ %` and other special characters of a password percent-encoded: `%2F` for `/`.

The classes are [`contract/clarion_contract/service/settings.py`](../contract/clarion_contract/service/settings.py),
[`gateway/clarion_gateway/settings.py`](../gateway/clarion_gateway/settings.py) and
[`publisher/clarion_publisher/settings.py`](../publisher/clarion_publisher/settings.py).
"""

_SHARED: Final = """\
## Shared

Gateways and publishers that belong together need the same Redis, the same namespace and the same
history. Their settings for tokens may differ.
"""

_GATEWAY: Final = """\
## Gateway
"""

_PUBLISHER: Final = """\
## Publisher

`PUBLISHER_DATA_MAX_BYTES` must not exceed `PUBLISHER_BODY_MAX_BYTES`, which must not exceed
`PUBLISHER_BODIES_MAX_BYTES`. `PUBLISHER_BATCH_MAX_EVENTS` and `PUBLISHER_OUTBOX_BATCH_ROWS` must not exceed
`PUBLISHER_MAX_PENDING`.
"""

_REMAINDER: Final = """\
## Traces

OpenTelemetry's standard variables configure traces. Traces are off until one of the two endpoints is set. See
[metrics and traces](metrics.md#traces).

| Variable | Default | What it does |
|---|---|---|
| `OTEL_EXPORTER_OTLP_ENDPOINT` | unset: no traces | Base URL of an OTLP collector over HTTP, e.g. `http://collector:4318`. Clarion adds `/v1/traces`. |
| `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | unset | The same for traces only. Clarion adds nothing to it. |
| `OTEL_EXPORTER_OTLP_HEADERS` | none | Headers for the collector: `name=value,name=value`. |
| `OTEL_EXPORTER_OTLP_TIMEOUT` | 10 s | Time for one export. |
| `OTEL_EXPORTER_OTLP_COMPRESSION` | `none` | `gzip` compresses exports. |
| `OTEL_EXPORTER_OTLP_CERTIFICATE` | the system's | PEM file of the collector's authority. |
| `OTEL_TRACES_SAMPLER` | `parentbased_always_on` | Whether events are traced if their producer sent no `traceparent`. If a producer decided not to sample, Clarion never samples. |
| `OTEL_TRACES_SAMPLER_ARG` | none | E.g. `0.01` for `parentbased_traceidratio`. |
| `OTEL_RESOURCE_ATTRIBUTES` | none | More attributes for every span. |
| `OTEL_BSP_SCHEDULE_DELAY` | 5,000 ms | How long spans wait for their batch. |
| `OTEL_BSP_MAX_QUEUE_SIZE` | 2,048 | The most spans that wait; more are dropped. |
| `OTEL_SDK_DISABLED` | `false` | `true` turns all spans off. |

These variables have no effect: `OTEL_SERVICE_NAME` (always `clarion-gateway` or `clarion-publisher`),
`OTEL_EXPORTER_OTLP_PROTOCOL` (always `http/protobuf`), `OTEL_TRACES_EXPORTER` (always OTLP),
`OTEL_PROPAGATORS` (always W3C Trace Context), `OTEL_METRICS_*` and `OTEL_LOGS_*` (metrics are for
Prometheus to scrape, logs go to standard error).

## Command line

| Variable | What it does |
|---|---|
| `CLARION_TOKEN` | The token that the commands use. Without it they sign one. It cannot be combined with `clarion tail --user`. |
| `CLARION_PUBLISHER_URL` | The publisher of `clarion publish`, `users`, `connections` and `disconnect`. Default: the running `clarion up`. |
| `CLARION_GATEWAY_URL` | The gateways of `clarion tail`, separated by spaces. Default: the running `clarion up`. |
| `CLARION_STATE` | The folder for the local secret and addresses. Default: `.clarion`, here or in a parent folder. |
| `CLARION_JWT_SECRET`, `CLARION_JWT_AUDIENCE`, `CLARION_JWT_ISSUER` | The secret with which `clarion token` signs, and the claims that it writes. |
| `CLARION_REDIS_URL`, `CLARION_REDIS_USERNAME`, `CLARION_REDIS_PASSWORD`, `GATEWAY_HANDLERS` | The Redis, its login and the handlers that `clarion up` uses instead of its own Valkey and the example. |

The commands read the secret, and the URL and login of Redis, from files too (`_FILE`).

`clarion up` passes its environment on to the services. It sets their ports, hosts, names, secret and profile
itself. It shortens their drain, unless the environment sets the drain's times.
"""

_ADVICE: Final[dict[str, str]] = {
    # shared
    "redis_url": "Set it always in production.",
    "redis_username": "Redis' user and password stand in a Secret apart from its URL.",
    "redis_password": "As above.",
    "namespace": "Several environments share one Redis: give each its own.",
    "history_max_events": "Raise it if clients come back with `resumed: false` although they were "
    "away for less than the age. Lower it if Redis needs memory.",
    "history_max_age_seconds": "Raise it if clients stay away longer (phones in pockets). It costs "
    "memory in Redis, and in each gateway's ring.",
    "topic_rules": "Some topics need less history than others. With the chart, use its value `topicRules`.",
    "text_flush_seconds": "Raise it if a pod writes or delivers thousands of texts at once: fewer events "
    "for each. Lower it if tokens must appear one by one.",
    "text_max_bytes": "Your texts are longer, such as the logs of builds. Raise GATEWAY_MAX_UNSENT_BYTES "
    "with it.",
    "text_lease_seconds": "Lower it if clients must learn of dead producers sooner. Keep it at 3 or more "
    "for producers that write over HTTP: they say each second that they live.",
    "idempotency_seconds": "Raise it if producers retry for longer than a day. Lower it if there are "
    "many keys: each costs memory in Redis.",
    "wait_replicas": "Redis has replicas that may be promoted: set it to their number.",
    "wait_seconds": "Raise it for distant replicas. While too few replicas are alive, every publish "
    "takes this long.",
    "jwt_secret": "Set it if the issuer signs with a shared secret.",
    "jwt_public_key": "Set it if the issuer signs with one key pair that seldom changes.",
    "jwt_jwks_url": "Set it if the issuer is an identity provider that rotates its keys.",
    "jwt_algorithms": "Set it if the issuer uses another algorithm, e.g. EdDSA. Only algorithms that "
    "fit the kind of key are allowed.",
    "jwt_audience": "Set it if the issuer writes `aud` into its tokens: [identity](identity.md).",
    "jwt_issuer": "Set it if several issuers share keys.",
    "jwt_client_id": "Set it for access tokens of Cognito, which have no `aud`.",
    "jwt_scope_claims": "Set it if the issuer writes scopes elsewhere: [identity](identity.md).",
    "jwt_user_claim": "Set it if your application knows its users by another claim, such as `oid`.",
    "jwt_leeway_seconds": "Raise it if the clocks of issuer and pods differ by more.",
    "token_max_seconds": "Raise it if the issuer's tokens live longer. Lower it if they are shorter, "
    "and revocations cost less memory.",
    "token_max_bytes": "Raise it for tokens with many groups. The head of a request must have room for "
    "the token, and so must each proxy in front.",
    "orders_max": "Raise it if you revoke many tokens. Each costs 180 bytes in Redis and 410 in every "
    "gateway.",
    "catalogue": "Set it if publishers and gateways should refuse events that are not as you have "
    "[declared](publishing.md#declared-events) them.",
    "log_level": "Set `debug` while you look for something, and `warning` to keep logs small.",
    "log_format": "Set it if Clarion does not recognise a terminal, or if you want JSON on one.",
    "profile": "Set `dev` only in development.",
    "pod": "Set it if the host name does not name the pod. Two gateways must not share a name: each "
    "would take the other's probe for its own.",
    # gateway
    "gateway.host": "Set `127.0.0.1` behind a proxy on the same machine, and `0.0.0.0` for IPv4 only.",
    "gateway.port": "Change it if the port is taken.",
    "gateway.health_path": "Set it if your load balancer demands another path, e.g. `/`. Set `off` if none needs it.",
    "gateway.path_prefix": "Another application has `/` on the same host name.",
    "gateway.internal_host": "As above.",
    "gateway.internal_port": "Change it if the port is taken. Never expose this port.",
    "gateway.pod_ip": "Several gateways serve Socket.IO outside the chart, and the host's name does not "
    "lead to this one.",
    "gateway.handlers": "Set it if the application has its own [handlers](handlers.md).",
    "gateway.undeclared": "As for `PUBLISHER_UNDECLARED`.",
    "gateway.upstream_url": "Set it if a backend in another language, or another process, should "
    "answer clients' messages: [upstream](handlers.md#handlers-in-any-language).",
    "gateway.upstream_secret": "Set it with `GATEWAY_UPSTREAM_URL`, to the secret that the backend verifies.",
    "gateway.upstream_types": "Name the types if a typing error of a client should not reach the backend.",
    "gateway.upstream_hooks": "Set `connect` if the backend decides who may connect. Then nobody can while it is away.",
    "gateway.upstream_offline_seconds": "Raise it if clients often lose their network for longer. Lower it if the backend "
    "must know sooner. After a pod's sudden death, `GATEWAY_HEARTBEAT_SECONDS` come on top.",
    "gateway.upstream_topics": "Name the topics that it knows, so that a request for any other costs no call.",
    "gateway.upstream_seconds": "Raise it, and `GATEWAY_HANDLER_SECONDS`, if the backend needs longer.",
    "gateway.upstream_retries": "Set 0 if the backend cannot recognise a message that it has seen before.",
    "gateway.upstream_concurrency": "Raise it if the backend is slow but can take more at once. Lower it if all pods "
    "together would overwhelm it.",
    "gateway.upstream_client_concurrency": "Raise it for service accounts with many busy connections.",
    "gateway.upstream_circuit_failures": "Raise it if the backend often fails for single messages.",
    "gateway.upstream_answer_max_bytes": "Raise it if replies are larger.",
    "gateway.allow_anonymous": "Set `false` if only logged-in users may connect. The gateway then "
    "also refuses logging out in band.",
    "gateway.allowed_origins": "Set it if your pages come from another host than the gateway's. "
    "`*` lets every page on the web connect.",
    "gateway.max_connections": "Measure how many connections a pod can hold, then set it a little "
    "lower, so that the autoscaler has time. Past it, clients are turned away (`at_capacity`).",
    "gateway.max_connections_per_user": "Raise it if users have more tabs and devices, or if one "
    "service account holds many connections.",
    "gateway.max_unsent_bytes": "Raise it if slow but patient clients are closed too early. Lower it "
    "if a pod may run out of memory.",
    "gateway.message_max_bytes": "Raise it if clients send larger messages. Past it, they are closed "
    "with 4413.",
    "gateway.messages_per_second": "Raise it if clients send more (typing, cursors). Past it, they are "
    "closed with 4429.",
    "gateway.message_burst": "As above.",
    "gateway.handshake_seconds": "Raise it for very slow networks.",
    "gateway.request_head_max_bytes": "Raise it if large cookies or tokens reach the gateway.",
    "gateway.ping_interval_seconds": "Lower it below the time-out of a proxy that closes idle "
    "connections sooner. Raise it to save clients' batteries.",
    "gateway.token_grace_seconds": "Raise it if clients need longer to fetch a fresh token.",
    "gateway.handler_seconds": "Raise it if handlers wait for something slow. Past it, the client gets "
    "`timeout`.",
    "gateway.handler_threads": "Raise it if many plain-function handlers block at the same time. A "
    "handler that hangs keeps its thread until it ends.",
    "gateway.handler_backlog": "Rarely. Past it, the client's messages wait in the network.",
    "gateway.lifespan_seconds": "Raise it if your application needs longer to connect to what it uses. "
    "Keep it below the time after which your startup probe gives up.",
    "gateway.max_asks_per_connection": "Rarely. Past it, `context.ask` raises `AskFailed` with the code `too_many_asks`.",
    "gateway.disconnects_at_once": "Raise it if `clarion_disconnects_pending` stays high and what the "
    "functions call, such as a database, can take more at once.",
    "gateway.replay_max_bytes": "Raise it if events are large or many, so that resumes read Redis "
    "(`clarion_resume_sources_total`).",
    "gateway.replay_client_max_bytes": "Raise it if clients that missed more should not start anew; "
    "lower it if fetching the state anew costs your application less.",
    "gateway.outbound_max_bytes": "Rarely: set the container's memory limit, and leave this to the gateway. Lower it if "
    "handlers need memory of their own.",
    "gateway.inbound_max_bytes": "As above. Past it, clients are closed with 1013 (`inbound_full`).",
    "gateway.pending_max_bytes": "As above. It bounds a pod's memory while the pod falls behind, or after it was away from Redis.",
    "gateway.trusted_proxies": "Set it if your proxies have public addresses. Set it to an empty list if clients reach the "
    "gateway without a proxy, from private addresses.",
    "gateway.address_handshakes_per_second": "Raise it if very many clients share one address, such as an office or a "
    "mobile network. The log names an address that reaches the limit; if it is a proxy, name that in "
    "`GATEWAY_TRUSTED_PROXIES`. Each pod counts by itself.",
    "gateway.address_handshake_burst": "Above the number of clients of one address that come back to one pod at once.",
    "gateway.address_max_opening": "As above. Handshakes take milliseconds, and longer while Redis or the issuer is slow.",
    "gateway.replays_max_bytes": "Raise it, with the pod's memory, if clients start anew because of it "
    '(`clarion_resumes_total{outcome="busy"}`).',
    "gateway.replay_max_events": "Raise it if clients that missed more should not start anew.",
    "gateway.pending_max_events": "Rarely. It bounds a pod's memory while the pod falls behind.",
    "gateway.publish_max_pending": "Rarely. Past it, handlers' publishes fail with `unavailable`.",
    "gateway.probe_interval_seconds": "Lower it to notice a dead subscription sooner. Each probe is "
    "one publish. Readiness fails when no probe came back for interval + timeout.",
    "gateway.probe_timeout_seconds": "Raise it if Redis is far away or often stalls.",
    "gateway.heartbeat_seconds": "Lower it if a killed pod's connections must leave the presence "
    "sooner. Raise it if Redis or the pods stall for longer than that.",
    "gateway.rebalance": "Set `true` if you add gateways while clients stay for hours: "
    "[scale](kubernetes.md#scale).",
    "gateway.rebalance_ratio": "Raise it if counts are nearly even and clients still move.",
    "gateway.rebalance_per_second": "Raise it if counts take too long to even out. All full pods "
    "together must send fewer clients than the other pods' handshakes can take.",
    "gateway.cluster_clock_seconds": "Raise it if the nodes' clocks are not synchronised. The probes' "
    "interval and twice their timeout come on top. All three must be the same on every gateway.",
    "gateway.topics_claim": "Name the claim that your identity provider writes; many ask for a URL, such as "
    "`https://app.example.com/topics`.",
    "gateway.subscribe_claim": "As for `GATEWAY_TOPICS_CLAIM`.",
    "gateway.max_topics_per_connection": "Raise it if clients follow more topics. Each costs the pod about 125 "
    "bytes, and a client that resumes one more log to read.",
    "gateway.topic_replay_max_bytes": "Raise it if many clients come back at once and follow busy topics: what it "
    "has no room for, each client reads from Redis.",
    "gateway.subscribes_per_second": "Raise it if clients change what they follow more often.",
    "gateway.subscribe_burst": "Raise it with `GATEWAY_MAX_TOPICS_PER_CONNECTION`.",
    "gateway.linger_seconds": "Raise it if users come and go so often that Redis is busy with "
    "subscriptions.",
    "gateway.compression": "Set `true` if traffic costs more than CPU, and events are large.",
    "gateway.sse_messages": "Set `false` if clients of event streams only listen: less to attack.",
    "gateway.socketio": "Set `false` if no client speaks Socket.IO: less to attack.",
    "gateway.socketio_path": "Your clients set `path`.",
    "gateway.socketio_recovery": "Set `true` if all your clients are the JavaScript or the Dart one, and shall miss "
    "nothing.",
    "gateway.socketio_ping_interval_seconds": "Lower it if a proxy closes quiet connections.",
    "gateway.socketio_ping_timeout_seconds": "Lower it to notice lost clients sooner.",
    "gateway.drain_pause_seconds": "Raise it if the load balancer takes longer to notice. A pod "
    "without connections pauses too.",
    "gateway.drain_spread_seconds": "Raise it for many clients per pod. Raise "
    "`terminationGracePeriodSeconds` too: it must exceed pause + spread + grace.",
    "gateway.drain_grace_seconds": "Raise it if handlers take longer. The process exits when all "
    "sockets are closed and all handlers done, or when this time is over.",
    "gateway.pod_deletion_cost": "On Kubernetes, use the chart's `gateway.podDeletionCost`. It sets "
    "this, and gives the pod the right to do it.",
    "gateway.pod_deletion_cost_interval_seconds": "Raise it for hundreds of pods: each write goes to "
    "the cluster's database.",
    "gateway.dev_gateway_urls": "`clarion up` sets it.",
    "gateway.dev_kill": "Set `true` where something starts a gateway again that ends; `clarion up` does both.",
    "gateway.dev_publisher_url": "Set it if the page of the dev profile should publish elsewhere.",
    # publisher
    "publisher.host": "Set `127.0.0.1` behind a proxy on the same machine, and `0.0.0.0` for IPv4 only.",
    "publisher.port": "Change it if the port is taken.",
    "publisher.health_path": "As above.",
    "publisher.path_prefix": "Another application has `/v1` on the same host name.",
    "publisher.internal_host": "As above.",
    "publisher.internal_port": "Change it if the port is taken. Never expose this port.",
    "publisher.data_max_bytes": "Raise it if events are larger. Each gateway holds them in memory and "
    "writes them to every receiver. Past it, the answer is 413.",
    "publisher.body_max_bytes": "Raise it if batches are larger. Past it, the answer is 413.",
    "publisher.bodies_max_bytes": "Keep it well below the pod's memory limit.",
    "publisher.batch_max_events": "Rarely. Larger batches delay other requests.",
    "publisher.undeclared": "Set `warn` while you write the catalogue, and `refuse` when it is complete.",
    "publisher.cloudevents_audiences": "Set it if a producer of [CloudEvents](publishing.md#cloudevents) cannot write "
    "`clarionaudience`.",
    "publisher.max_pending": "Rarely. It bounds memory while Redis is slow.",
    "publisher.probe_interval_seconds": "Lower it to notice sooner that Redis takes no events; "
    "a failed publish is followed by a probe at once.",
    "publisher.probe_timeout_seconds": "Raise it if Redis is far away or often busy for longer.",
    "publisher.rate_events_per_second": "Set it if one producer must not starve the others.",
    "publisher.rate_burst_events": "As above.",
    "publisher.request_head_max_bytes": "Raise it for large tokens. Past it, the answer is 431.",
    "publisher.request_seconds": "Raise it for large bodies over slow links. Past it, the answer is "
    "408.",
    "publisher.body_bytes_per_second": "Lower it if producers' links stall for seconds. Below it, the "
    "answer is 408.",
    "publisher.max_sockets": "Raise it, and the file descriptors of the process, if more producers "
    "keep connections open.",
    "publisher.keep_alive_seconds": "Raise it above the load balancer's own idle time.",
    "publisher.drain_pause_seconds": "Raise it if the load balancer takes longer to notice.",
    "publisher.drain_grace_seconds": "Raise it if requests take longer. "
    "`terminationGracePeriodSeconds` must exceed pause + grace.",
    "publisher.outbox_url": "Set it to publish from the [outbox](outbox.md) of a database. Options of libpq "
    "go into the query, such as `?sslmode=verify-full`.",
    "publisher.outbox_username": "Set it if a Secret holds user and password by themselves.",
    "publisher.outbox_password": "As above.",
    "publisher.outbox_poll_seconds": "Lower it for events that come sooner without NOTIFY. Raise it to "
    "spare the database.",
    "publisher.outbox_batch_rows": "Raise it if [the outbox falls behind](runbook.md#the-outbox-falls-behind).",
    "publisher.outbox_keep_refused_seconds": "Raise it if you need longer to find and mend such rows.",
    "publisher.socketio_redis_url": "Set it to publish what [producers of Socket.IO](socketio-producers.md) "
    "write.",
    "publisher.socketio_stream": "Set it to the emitter's `streamName`.",
    "publisher.socketio_key": "Set it to the emitter's `key`.",
    "publisher.socketio_channel": "Set it to the manager's `channel`.",
    "publisher.socketio_user_rooms": "Set it if your server lets each user's sockets join a room of their own.",
    "publisher.socketio_scopes": "Set it to what the producers need. [Security](socketio-producers.md#security).",
    "publisher.socketio_poll_seconds": "Lower it for events that come sooner. Raise it to spare Redis.",
    "publisher.allowed_origins": "Set it only in development.",
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
            _INTRODUCTION.replace("FILES", _with_files()),
            _SHARED,
            _table(ContractSettings, shared, ""),
            _GATEWAY,
            _table(GatewaySettings, own["gateway"], "gateway."),
            _PUBLISHER,
            _table(PublisherSettings, own["publisher"], "publisher."),
            _REMAINDER,
        )
    )


def _with_files() -> str:
    """The settings that may be in files, as a list in a sentence."""
    classes = (ContractSettings, GatewaySettings, PublisherSettings)
    names = {
        variable(cls, name): None
        for cls in classes
        for name, field in cls.model_fields.items()
        if holds_secret(field)
    }
    return ", ".join(f"`{name}`" for name in names)


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
