"""Generates the capacity section of docs/kubernetes.md; a test compares it with the page.

The measured figures come from docs/figures.toml, and those that depend on a size from the curves of
`clarion bench growth` there. The functions below compute all others by the formulas that the page
shows. To write the section again, run ``python -m docs.capacity``.
"""
# ruff: noqa: E501, RUF001 - a row of a Markdown table is one line, and its formulas multiply with a sign

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs.curves import at, largest, line
from docs.figures import FIGURES

PAGE: Final = Path(__file__).parent / "kubernetes.md"
BEGIN: Final = "<!-- capacity: made by docs/capacity.py -->\n"
END: Final = "<!-- end of capacity -->\n"

_FANOUT: Final = FIGURES["fanout"]["clarion"]
_TARGETED: Final = FIGURES["targeted"]
_PUBLISHING: Final = FIGURES["publishing"]["clarion"]
_CONTAINER: Final = FIGURES["container"]
_REDIS: Final = FIGURES["redis"]
_GROWTH: Final = FIGURES["growth"]

# Defaults of the setting and of the chart: how many connections a pod holds.
MAX_CONNECTIONS: Final = 20_000
CONNECTIONS_PER_POD: Final = MAX_CONNECTIONS * 70 // 100

# From `clarion bench growth`.
DELIVERY_US: Final = round(at(_GROWTH["delivery_us"], CONNECTIONS_PER_POD), 1)
"""CPU for one event to one of a pod's sockets, when events are too rare to be joined."""
DELIVERY_SECONDS: Final = DELIVERY_US * 1e-6
PROCESS_BYTES: Final = round(at(_GROWTH["socket_bytes"], CONNECTIONS_PER_POD))
"""Memory of the gateway's process for each of a pod's sockets."""
_REDIS_LINE: Final = line(_GROWTH["redis_us"])
PUBLISH_US: Final = round(_REDIS_LINE.start, 1)
"""CPU of Redis for one event to `all`, if no pod hears it."""
PUBLISH_PER_POD_US: Final = round(_REDIS_LINE.slope, 2)
STREAM_BYTES: Final = round(at(_GROWTH["stream_bytes"], largest(_GROWTH["stream_bytes"])))
"""Memory of Redis for a user's history with one event."""

# From `clarion bench fanout`.
HANDSHAKES_PER_SECOND: Final = _FANOUT["handshakes_per_second"]
"""Handshakes on one core, each with an HS256 token and its own subscription."""

# The image in a memory cgroup. The kernel's share of a socket is what the cgroup saw above the process.
IDLE_POD_BYTES: Final = _CONTAINER["idle_pod_bytes"]
KERNEL_BYTES: Final = _CONTAINER["connection_bytes"] - _CONTAINER["process_bytes"]
CONNECTION_BYTES: Final = PROCESS_BYTES + KERNEL_BYTES

# Valkey 9.1.2, by hand.
BYTES_PER_POD: Final = _REDIS["bytes_per_pod"]
CHANNEL_BYTES: Final = _REDIS["subscription_bytes"]

# More defaults of the settings and of the chart; a test compares all of them.
RING_BYTES: Final = 64 * 2**20
REQUESTED_CORES: Final = 0.5
CPU_TARGET: Final = 0.8
"""The share of the requested CPU that the autoscaler aims at."""
LIMIT_BYTES: Final = 2**30
START_SECONDS: Final = 10
"""From a pod's creation until it is ready, seen in the cluster tests on a busy node with the image."""
MIN_READY_SECONDS: Final = 10
SPREAD_SECONDS: Final = 20
DRAIN_SECONDS: Final = 30

FLEETS: Final = (10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)


def pods(connections: int) -> int:
    """The number of pods that the autoscaler aims at, never fewer than two."""
    return max(2, math.ceil(connections / CONNECTIONS_PER_POD))


def busy_cores(connections: int, events_per_second: float) -> float:
    """Cores that all gateways use while every connection gets this many events.

    It is an upper bound, since rounds join events.
    """
    return connections * events_per_second * DELIVERY_SECONDS


def used_bytes(connections: int) -> float:
    """Resident memory of all gateways with full rings and no slow clients."""
    return pods(connections) * (IDLE_POD_BYTES + RING_BYTES) + connections * CONNECTION_BYTES


def redis_events_per_second(connections: int) -> float:
    """Events to `all` that one core of Redis publishes."""
    return 1e6 / (PUBLISH_US + pods(connections) * PUBLISH_PER_POD_US)


def return_seconds(connections: int, lost: int) -> float:
    """Time to admit the clients of ``lost`` pods, if each other pod has a core for it."""
    total = pods(connections)
    return connections * lost / total / ((total - lost) * HANDSHAKES_PER_SECOND)


def rollout_seconds(connections: int, surge: int) -> float:
    """Time to replace all gateways, ``surge`` pods at a time; drains overlap the next starts."""
    steps = math.ceil(pods(connections) / surge)
    return steps * (START_SECONDS + MIN_READY_SECONDS) + DRAIN_SECONDS


def surge_of(connections: int) -> int:
    """A tenth of the pods, as with ``maxSurge: 10%``; Kubernetes rounds up."""
    return math.ceil(pods(connections) / 10)


def section() -> str:
    """The measured figures, the tables by size of fleet, their formulas, and the conclusions."""
    tables = f"{_table(_GATEWAYS, _gateways)}\n{_table(_AROUND, _around)}"
    return f"{_measured()}\n{_COMPUTED}\n{tables}\n{_formulas()}\n{_conclusions()}"


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


_COMPUTED: Final = """\
**Computed** from these figures, with the chart's defaults. Each pod holds 14,000 connections (70 % of
20,000), and every connection belongs to a different user. One event of 150 bytes a second goes to
everybody. No fleet of these sizes has been run. A pod takes the measured values for its number of connections, or
those of the largest measured one. Redis' CPU for more gateways than were measured lies on the straight line through the points.
"""


def _reach(curve: str) -> str:
    return f"{largest(_GROWTH[curve]):,}"


def _measured() -> str:
    fanout, targeted, publishing = _FANOUT, _TARGETED, _PUBLISHING
    return f"""\
**Measured** on one core: a delivery, the memory of the process, users' streams and publishing on an Intel Xeon, all
else on an AMD EPYC. [Performance](performance.md) says how. The memory was measured with the
image in a memory cgroup, with 300 and 10,300 sockets of one user each. Redis was measured on Valkey 9.1.2.
[`clarion bench growth`](../bench/README.md#growth) measures how the figures grow. They reach up to {_reach("delivery_us")} sockets on one
gateway for a delivery and {_reach("socket_bytes")} for its memory, {_reach("redis_single_us")} gateways on one Redis (and by hand {_reach("redis_us")} subscribed connections), and {_reach("stream_bytes")} users' streams.

| | |
|---|---|
| One delivery | {DELIVERY_US:g} µs of CPU where events are rare. {fanout["busy_us"]} µs at 200 events/s, where rounds join events. One core holds {fanout["held_per_second"]:,} deliveries/s. |
| One event to one user | {targeted["held_us"]} µs of CPU. One gateway holds {targeted["held_per_second"]:,} a second. |
| Handshakes | {fanout["handshakes_per_second"]:,} a second on one core. |
| One idle connection | {CONNECTION_BYTES / 1e3:.2f} KB of a container's memory: {PROCESS_BYTES / 1e3:.2f} KB in the process and {_CONTAINER["kernel_bytes"] / 1e3:.2f} KB in the kernel. Both count against the limit. An idle pod takes {_CONTAINER["idle_pod_bytes"] / 1e6:.0f} MB. |
| One publisher | {min(publishing["batches_of_100_per_second"]):,} events/s in batches of 100. A single request takes {max(publishing["single_us"]):.0f} µs of CPU. |
| Redis, for each event | {PUBLISH_US:g} µs of CPU, and {PUBLISH_PER_POD_US:g} µs for each pod that hears it. {_REDIS["bytes_per_pod"]} bytes go to each pod for an event of {_REDIS["event_bytes"]} bytes. |
| Redis, for each user's subscription | {_REDIS["subscription_bytes"]} bytes of memory and {_REDIS["subscription_us"]} µs of CPU. |
| Redis, for the events of a user | {STREAM_BYTES / 1e3:.1f} KB of memory for the first event in the user's history, {(STREAM_BYTES + _REDIS["key_bytes"]) / 1e3:.1f} KB with an idempotency key; {_REDIS["further_event_bytes"]} bytes for each further event of {_REDIS["event_bytes"]} bytes. A history is kept for `CLARION_HISTORY_MAX_AGE_SECONDS`, a key for `CLARION_IDEMPOTENCY_SECONDS`. |
"""


def _formulas() -> str:
    return f"""\
| column | formula |
|---|---|
| pods | connections ÷ {CONNECTIONS_PER_POD:,}, at least 2 |
| cores requested, memory limits | pods × {REQUESTED_CORES}, pods × 1 GiB |
| cores busy | connections × {DELIVERY_US:g} µs × events a second. It is less where rounds join events. One pod can use one core at most. |
| memory used | pods × ({IDLE_POD_BYTES / 1e6:.0f} MB + the ring's 64 MiB) + connections × {CONNECTION_BYTES / 1e3:.2f} KB. Slow clients come on top: up to `GATEWAY_OUTBOUND_MAX_BYTES` for all of a pod. |
| Redis: memory | connections × {CHANNEL_BYTES} bytes. The histories come on top; `CLARION_HISTORY_*` bound them. |
| Redis: events/s | 1 ÷ ({PUBLISH_US:g} µs + pods × {PUBLISH_PER_POD_US:g} µs): the events to `all` that one core of Redis publishes. An event to one user reaches only the pods that hold this user: {PUBLISH_US + PUBLISH_PER_POD_US:.0f} µs. |
| Redis: out per event | pods × {BYTES_PER_POD} bytes for an event to `all`. Add what your events have above {_REDIS["event_bytes"]} bytes. |
| a node is lost | connections × 2 lost pods (1 of up to three) ÷ pods ÷ (the other pods × {HANDSHAKES_PER_SECOND:,}/s): the time to admit the lost pods' clients, if each other pod has a core for it. Clients also spread themselves: up to 250 ms, doubled at each failure. |
| roll-out | pods ÷ `maxSurge` × ({START_SECONDS} s to get ready + `minReadySeconds`) + {DRAIN_SECONDS} s of drain, with `maxSurge` 1 and `10%` |
"""


def _conclusions() -> str:
    busy_deliveries = CPU_TARGET * REQUESTED_CORES / DELIVERY_SECONDS
    events = busy_deliveries / CONNECTIONS_PER_POD
    at_most = _FANOUT["held_per_second"] / CONNECTIONS_PER_POD
    zone_seconds = CONNECTIONS_PER_POD / 2 / HANDSHAKES_PER_SECOND
    zone_percent = CONNECTIONS_PER_POD * 1.5 / MAX_CONNECTIONS * 100
    returning = CONNECTIONS_PER_POD / SPREAD_SECONDS
    share = returning / 9
    return f"""\
Consequences:

- **CPU adds pods before connections do** where each connection gets more than {events:.1f} events a second:
  {CPU_TARGET * 100:.0f} % of half a core is {CPU_TARGET * REQUESTED_CORES:.1f} s of CPU a second, which pays for about {round(busy_deliveries, -3):,.0f} deliveries. A pod
  with {CONNECTIONS_PER_POD:,} connections delivers at most {at_most:.0f} events/s to all ({_FANOUT["held_per_second"]:,} ÷ {CONNECTIONS_PER_POD:,}). It then uses
  a whole core, and events arrive tens of milliseconds later.
- **When a zone is lost**, a third of the clients go to two thirds of the pods. That is {zone_seconds:.1f} s of
  handshakes. With the autoscaler's target of 70 %, the other pods would then hold {zone_percent:.0f} % of
  `GATEWAY_MAX_CONNECTIONS`. They turn clients away until new pods are ready. To survive the loss of
  a zone, set `gateway.autoscaling.connections.targetPercent: 65`.
- **A large fleet rolls too slowly one pod at a time.** Set `gateway.rollout.maxSurge: 10%`. Each draining pod
  sends {CONNECTIONS_PER_POD:,} ÷ {SPREAD_SECONDS} s = {returning:.0f} clients a second elsewhere. If a tenth of the pods drain, each
  other pod takes about {share:.0f} a second, {share / HANDSHAKES_PER_SECOND * 100:.0f} % of a core. Keep helm's `--timeout` above the roll-out's time.
- **Redis does not limit the number of sockets.** It limits events per second. Above 5,000, publish in
  batches. If most events go to single users, a Redis Cluster spreads them over its primaries.
"""


def _on_a_node(total: int) -> int:
    """The pods on one node, as in the page's formula: two, or one of two or three in all."""
    return 2 if total > 3 else 1


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def page(text: str) -> str:
    """The page with the generated section."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN!r} and {END!r} in the page")
    return f"{before}{BEGIN}\n{section()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
