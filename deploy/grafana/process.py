"""The row "Processes" of both dashboards: what each pod's Python process uses."""

from __future__ import annotations

from collections.abc import Callable

from deploy.grafana.dashboard import Row
from deploy.grafana.panel import Panel, Query, Thresholds
from deploy.grafana.query import gauge


def processes(title: str, pods: str, only: Callable[[str], str], limit: str) -> Row:
    """CPU, memory, file descriptors and garbage collection.

    Args:
        pods: the matchers of the pods.
        only: leaves the pods of one service, since every Python process has these metrics.
        limit: the metrics of the most connections, without `_max` and `_configured`.
    """

    def each(expr: str) -> list[Query]:
        return [Query(f"max by (pod) ({only(expr)})", "{{pod}}")]

    def speed(metric: str, *matchers: str) -> list[Query]:
        return each(f"rate({gauge(metric, *matchers, pods=pods)}[$__rate_interval])")

    open_files, most_files = (gauge(f"process_{name}_fds", pods=pods) for name in ("open", "max"))
    return Row(
        title,
        [
            Panel(
                "CPU usage",
                "Cores that the process uses. It is one event loop, so near 1 it can do no more.",
                "short",
                speed("process_cpu_seconds_total"),
                "events-come-late",
                thresholds=Thresholds(0.6, 0.9),
                width=6,
            ),
            Panel(
                "Memory usage",
                "Resident memory of the process. The kernel's buffers for sockets come on top, and "
                "count against the container's limit too.",
                "bytes",
                each(gauge("process_resident_memory_bytes", pods=pods)),
                "slow-consumers",
                width=6,
            ),
            Panel(
                "File descriptors in use",
                "Share of the open files that the process may have. Each connection is one.",
                "percentunit",
                each(f"{open_files} / {most_files}"),
                "file-descriptors",
                thresholds=Thresholds(0.7, 0.85),
                maximum=1,
                width=4,
            ),
            Panel(
                "Limit that the node allows",
                "Share of the configured connections that the pod takes. Below 100 %, its node "
                "allows too few open files.",
                "percentunit",
                [
                    Query(
                        f"max by (pod) ({gauge(f'{limit}_max', pods=pods)}"
                        f" / {gauge(f'{limit}_configured', pods=pods)})",
                        "{{pod}}",
                    )
                ],
                "file-descriptors",
                maximum=1,
                width=4,
            ),
            Panel(
                "Full garbage collections",
                "Collections of Python's oldest generation per second. Each one stops the event "
                "loop for as long as it takes to look at every object.",
                "ops",
                speed("python_gc_collections_total", 'generation="2"'),
                "events-come-late",
                width=4,
            ),
        ],
    )
