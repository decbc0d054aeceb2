"""Growth: what a delivery, an event and a stream cost as sockets, gateways and streams grow.

Each curve is a list of points, smallest first. All its figures are CPU time or memory of single
processes, never wall time, because many gateways share one core here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clarion_bench.cores import raise_file_limit
from clarion_bench.growth.gateways import gateways
from clarion_bench.growth.sizes import room, sizes
from clarion_bench.growth.sockets import sockets
from clarion_bench.growth.streams import streams
from clarion_bench.growth_points import Point
from clarion_bench.laboratory import Laboratory

_SOCKETS = (500, 1_000, 2_000, 5_000, 10_000, 20_000)
_GATEWAYS = (1, 2, 4, 8)
_STREAMS = (10, 100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class GrowthOptions:
    """The options. Each size is that of a curve's last point; 0 leaves the curve out.

    Attributes:
        sockets: on one gateway.
        gateways: on one Redis.
        streams: of users, in Redis.
        seconds: length of each measured window, and of the window without events before it.
    """

    sockets: int = 20_000
    gateways: int = 8
    streams: int = 100_000
    seconds: float = 6.0


def growth(
    options: GrowthOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Point]:
    """Yield each point as it is measured."""
    most = room(raise_file_limit())
    for size in sizes(_SOCKETS, options.sockets):
        held = min(size, most)
        announce(f"{held:,} sockets on one gateway")
        yield sockets(size, held, options.seconds, bench)
    if options.gateways:
        yield from gateways(sizes(_GATEWAYS, options.gateways), options.seconds, bench, announce)
    for size in sizes(_STREAMS, options.streams):
        announce(f"{size:,} users' streams")
        yield streams(size, most, options.seconds, bench)
