"""The row of "Clarion gateway pods" about Socket.IO, messages by POST and growing texts."""

from __future__ import annotations

from typing import Final

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query
from deploy.grafana.query import gauge, rate

OTHER_WAYS: Final = Row(
    "Socket.IO, messages by POST, growing texts",
    [
        Panel(
            "Socket.IO sessions",
            "By the transport that carries them now. If many stay on `polling`, a proxy may let no "
            "WebSockets through.",
            "short",
            [
                Query(
                    f"max by (pod, transport) ({gauge('clarion_socketio_sessions')})",
                    "{{pod}} {{transport}}",
                )
            ],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Socket.IO upgrades",
            "Per second: WebSockets that were to take over a session from polling.",
            "ops",
            [
                Query(
                    rate("clarion_socketio_upgrades_total", by="pod, outcome"),
                    "{{pod}} {{outcome}}",
                )
            ],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Socket.IO requests between pods",
            "Per second: requests whose session another pod has. `lost`: the session is gone, and "
            "the client begins another one. `full`: this pod has too many TCP connections.",
            "ops",
            [Query(rate("clarion_socketio_hops_total", by="pod, outcome"), "{{pod}} {{outcome}}")],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Socket.IO requests refused",
            "Per second, by the error that the client was told.",
            "ops",
            [
                Query(
                    rate("clarion_socketio_requests_refused_total", by="pod, error"),
                    "{{pod}} {{error}}",
                )
            ],
            "a-pod-is-at-capacity",
            width=6,
        ),
        Panel(
            "Messages by POST",
            "Per second, from clients of event streams, by their outcome.",
            "ops",
            [Query(rate("clarion_posts_total", by="pod, outcome"), "{{pod}} {{outcome}}")],
            "handlers-fail",
            width=8,
        ),
        Panel(
            "Messages by POST, passed on",
            "Per second: those whose event stream another pod has.",
            "ops",
            [Query(rate("clarion_posts_relayed_total", by="pod"), "{{pod}}")],
            "handlers-fail",
            width=8,
        ),
        Panel(
            "Growing texts without a producer",
            "Per second: texts that the pod ended as `failed`: their producers were silent.",
            "ops",
            [Query(rate("clarion_texts_lost_total", by="pod"), "{{pod}}")],
            "handlers-fail",
            width=8,
        ),
    ],
)
