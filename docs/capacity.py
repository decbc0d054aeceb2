"""Makes the capacity tables in docs/kubernetes.md; a test compares it with the page.

The figures are measured: each names where. All else is reckoned from them by the functions below,
which are the formulas that the page gives. Write the tables anew with ``python -m docs.capacity``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).parent / "kubernetes.md"
BEGIN: Final = "<!-- capacity: made by docs/capacity.py -->\n"
END: Final = "<!-- end of capacity -->\n"

# Measured: docs/decisions/0009-what-the-bench-taught.md.
DELIVERY_SECONDS: Final = 12.43e-6
"""CPU of one event written to one of 2,000 sockets, where events are too rare to be joined."""
HANDSHAKES_PER_SECOND: Final = 2_222
"""Of a core, each with an HS256 token and a subscription of its own: the middle of three runs."""

# Measured: the image in a container's memory cgroup, 10,000 idle authenticated WebSockets.
IDLE_POD_BYTES: Final = 66e6
CONNECTION_BYTES: Final = 5_240
"""3,760 of the process, 1,490 of the kernel, which count against the limit too."""

# Measured: publish.lua on Valkey 9.1.2 with 1 to 200 subscribed connections, events of 150 bytes.
PUBLISH_SECONDS: Final = 54e-6
PUBLISH_SECONDS_PER_POD: Final = 1.1e-6
BYTES_PER_POD: Final = 247
CHANNEL_BYTES: Final = 260
"""Of Redis' memory for each user that a pod subscribes to."""

# Settings and values of the chart, by default; a test holds them to it.
CONNECTIONS_PER_POD: Final = 20_000 * 70 // 100
RING_BYTES: Final = 64 * 2**20
REQUESTED_CORES: Final = 0.5
LIMIT_BYTES: Final = 2**30
START_SECONDS: Final = 10
"""From a pod's creation to ready, as seen in the cluster tests on a busy node with the image."""
MIN_READY_SECONDS: Final = 10
DRAIN_SECONDS: Final = 30

FLEETS: Final = (10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)


def pods(connections: int) -> int:
    """What the autoscaler aims at, never fewer than two."""
    return max(2, math.ceil(connections / CONNECTIONS_PER_POD))


def busy_cores(connections: int, events_per_second: float) -> float:
    """Of all gateways, while every connection gets so many events; at most: rounds join more."""
    return connections * events_per_second * DELIVERY_SECONDS


def used_bytes(connections: int) -> float:
    """Resident memory of all gateways with full rings, nobody slow."""
    return pods(connections) * (IDLE_POD_BYTES + RING_BYTES) + connections * CONNECTION_BYTES


def redis_events_per_second(connections: int) -> float:
    """Events to `all` that a core of Redis publishes."""
    return 1 / (PUBLISH_SECONDS + pods(connections) * PUBLISH_SECONDS_PER_POD)


def return_seconds(connections: int, lost: int) -> float:
    """Until those are admitted whose ``lost`` pods are gone, if the others have a core each."""
    total = pods(connections)
    return connections * lost / total / ((total - lost) * HANDSHAKES_PER_SECOND)


def rollout_seconds(connections: int, surge: int) -> float:
    """Of all gateways, ``surge`` pods at a time; the drains run beside the next pods' start."""
    steps = math.ceil(pods(connections) / surge)
    return steps * (START_SECONDS + MIN_READY_SECONDS) + DRAIN_SECONDS


def surge_of(connections: int) -> int:
    """A tenth of the pods, as ``maxSurge: 10%``: Kubernetes rounds up."""
    return math.ceil(pods(connections) / 10)


def tables() -> str:
    """What a fleet needs, and what Redis and clients see of it; one line for each size."""
    return f"{_table(_GATEWAYS, _gateways)}\n{_table(_AROUND, _around)}"


_GATEWAYS: Final = (
    "connections", "pods", "cores requested", "cores busy", "memory used", "memory limits",
)  # fmt: skip
_AROUND: Final = (
    "connections", "Redis: memory", "Redis: events/s", "Redis: out per event", "a node is lost",
    "roll-out", "roll-out by tenths",
)  # fmt: skip


def _table(head: tuple[str, ...], line: Callable[[int], tuple[str, ...]]) -> str:
    lines = [head, ("---:",) * len(head), *map(line, FLEETS)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _gateways(connections: int) -> tuple[str, ...]:
    total = pods(connections)
    return (
        f"{connections:,}",
        str(total),
        f"{total * REQUESTED_CORES:g}",
        f"{busy_cores(connections, 1):.1f}",
        f"{used_bytes(connections) / 1e9:.1f} GB",
        f"{total * LIMIT_BYTES / 2**30:.0f} GiB",
    )


def _around(connections: int) -> tuple[str, ...]:
    total = pods(connections)
    return (
        f"{connections:,}",
        f"{connections * CHANNEL_BYTES / 1e6:.0f} MB",
        f"{redis_events_per_second(connections):,.0f}",
        f"{total * BYTES_PER_POD / 1e3:.1f} KB",
        f"{return_seconds(connections, _on_a_node(total)):.1f} s",
        _minutes(rollout_seconds(connections, 1)),
        _minutes(rollout_seconds(connections, surge_of(connections))),
    )


def _on_a_node(total: int) -> int:
    """Two pods, as the formula in the page has it; with two or three in all, one."""
    return 2 if total > 3 else 1


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def page(text: str) -> str:
    """The page with the tables as they should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN!r} and {END!r} in the page")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
