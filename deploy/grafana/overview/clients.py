"""The row of "Clarion overview" about connections, tokens and messages of clients."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import PUBLISHERS, quantile, rate

CLIENTS: Final = Row(
    "Clients",
    [
        Panel(
            "Connection attempts by outcome",
            "Connections asked for. `at_capacity`, `unavailable` and `internal_error` are faults "
            "of the servers, the others of the clients.",
            "ops",
            [Query(rate("clarion_handshakes_total", by="outcome"), "{{outcome}}")],
            "a-pod-is-at-capacity",
        ),
        Panel(
            "Time to welcome",
            "From the request to `welcome` or to the refusal. The replay to a client that resumes "
            "comes after it and is not in it.",
            "s",
            [
                Query(quantile(0.5, "clarion_handshake_duration_seconds"), "p50"),
                Query(quantile(0.99, "clarion_handshake_duration_seconds"), "p99"),
            ],
            "a-pod-is-at-capacity",
            thresholds=Thresholds(1, 5),
        ),
        Panel(
            "Disconnects by reason",
            "Why connections ended; docs/errors.md has a row for each code.",
            "ops",
            [Query(rate("clarion_closes_total", by="code, reason"), "{{code}} {{reason}}")],
            "a-pod-is-at-capacity",
        ),
        Panel(
            "Resumes by outcome",
            "Clients that named a position. `not_resumed`: the history did not reach back far "
            "enough, or the client missed too much. `busy`: too many replays at once.",
            "ops",
            [Query(rate("clarion_resumes_total", by="outcome"), "{{outcome}}")],
            "clients-start-anew-instead-of-resuming",
            width=6,
        ),
        Panel(
            "Client messages by outcome",
            "`internal`, `timeout` and `unavailable` are faults of the application or of Redis, "
            "the others of the clients.",
            "ops",
            [Query(rate("clarion_messages_received_total", by="outcome"), "{{outcome}}")],
            "handlers-fail",
            width=6,
        ),
        Panel(
            "Handler duration",
            "Time in the application's own code, including interceptors and publishing.",
            "s",
            [
                Query(quantile(0.5, "clarion_handler_duration_seconds"), "p50"),
                Query(quantile(0.99, "clarion_handler_duration_seconds"), "p99"),
            ],
            "handlers-fail",
            thresholds=Thresholds(1, 10),
            width=6,
        ),
        Panel(
            "Connects, disconnects and questions",
            "Runs of the application's `on_connect` and `on_disconnect`, and its questions to "
            "clients. `internal` and `timeout` of the former are faults of the application.",
            "ops",
            [
                Query(rate("clarion_hooks_total", by="hook, outcome"), "{{hook}} {{outcome}}"),
                Query(rate("clarion_asks_total", by="outcome"), "ask {{outcome}}"),
            ],
            "handlers-fail",
            width=6,
        ),
        Panel(
            "Rejected tokens by reason",
            "Tokens that identified nobody, at the gateways and at the publishers.",
            "ops",
            [
                Query(rate("clarion_tokens_refused_total", by="reason"), "gateway: {{reason}}"),
                Query(
                    rate("clarion_publisher_tokens_refused_total", by="reason", pods=PUBLISHERS),
                    "publisher: {{reason}}",
                ),
            ],
            "tokens-are-refused",
            width=6,
        ),
        Panel(
            "Rejected requests by reason",
            "Requests that never became connections.",
            "ops",
            [Query(rate("clarion_http_requests_refused_total", by="reason"), "{{reason}}")],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Revocations and forced disconnects",
            "Requests to publishers to revoke tokens or disconnect users, and how often gateways "
            "carried out an order: each pod counts once.",
            "ops",
            [
                Query(
                    rate(
                        "clarion_publisher_operations_total",
                        by="operation, outcome",
                        pods=PUBLISHERS,
                    ),
                    "asked: {{operation}} {{outcome}}",
                ),
                Query(rate("clarion_orders_total", by="order"), "carried out: {{order}}"),
            ],
            "tokens-are-refused",
            width=6,
        ),
        Panel(
            "Logins on open connections",
            "Changes of identity on open connections: logged in, refreshed, logged out.",
            "ops",
            [Query(rate("clarion_identity_changes_total", by="change"), "{{change}}")],
            "tokens-are-refused",
            width=6,
        ),
    ],
)
