"""The points of the growth curves: what a delivery, an event and a stream cost at each size.

CPU times are above those of a window of the same length without events, so a figure is the cost of
the events alone. `idle_…` is what the process uses in that window.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain

from clarion_bench.busy import Busy


@dataclass(frozen=True)
class SocketsPoint:
    """One gateway with so many sockets, each of another user, and events to all.

    - `asked`: the size that was asked for; `sockets` is less if a process may not hold so many.
    - `kilobytes_per_socket`: private memory, before the first event.
    - `p99_ms`: from publish to receipt, on sampled sockets.
    """

    asked: int
    sockets: int
    events_per_second: float
    deliveries_per_second: float
    cpu_us_per_delivery: float
    idle_cpu_ms_per_second: float
    kilobytes_per_socket: float
    p99_ms: float
    busy: Busy


@dataclass(frozen=True)
class GatewaysPoint:
    """So many gateways on one Redis, each with as many sockets, and events to all.

    - `redis_us`, `publishing_us`: CPU per event, of Redis and of the process that publishes.
    - `redis_batched_us`: that of Redis for events in batches of 100, one after the other. Redis
      then reads, runs and writes many events in a round, as it does when it is busy.
    - `pod_us`: CPU per event of one gateway, the mean of all. `pod_us_per_delivery` is the same,
      divided by the sockets of a gateway.
    """

    gateways: int
    sockets_each: int
    events_per_second: float
    redis_us: float
    redis_batched_us: float
    publishing_us: float
    pod_us: float
    pod_us_per_delivery: float
    busy: Busy


@dataclass(frozen=True)
class StreamsPoint:
    """So many users' streams in Redis with one event each, and events to single users in turn.

    - `bytes_per_stream`: memory of Redis (used_memory), before a gateway subscribes.
    - `subscribed`: so many of the users have a socket on the gateway; they get the events.
    - `gateway_us`, `redis_us`: CPU per event.
    """

    streams: int
    subscribed: int
    events_per_second: float
    bytes_per_stream: float
    gateway_us: float
    redis_us: float
    busy: Busy


Point = SocketsPoint | GatewaysPoint | StreamsPoint


@dataclass(frozen=True)
class Growth:
    """The three curves, each by size."""

    sockets: list[SocketsPoint] = field(default_factory=list)
    gateways: list[GatewaysPoint] = field(default_factory=list)
    streams: list[StreamsPoint] = field(default_factory=list)

    @property
    def others_busy(self) -> float:
        """The most that other programs used during a measurement, in cores."""
        points: Iterable[Point] = chain(self.sockets, self.gateways, self.streams)
        return max((point.busy.others for point in points), default=0.0)
