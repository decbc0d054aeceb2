"""Gateways on one Redis: what an event to all costs Redis, its publisher and each gateway.

Every gateway has as many sockets. So a gateway's work for an event stays the same, and what grows
is the work for more gateways. The sockets are few: Redis does not see them, and all gateways share
one core, which must not be busy.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from clarion_bench import clarion, payload
from clarion_bench.crowd import BULK_PAUSE_SECONDS, CONCURRENCY, Loader, LoadError, Tally, added_up
from clarion_bench.dialects import CLARION
from clarion_bench.growth.costs import Meter
from clarion_bench.growth_points import GatewaysPoint
from clarion_bench.laboratory import Laboratory
from clarion_bench.load import Orders
from clarion_bench.processes import ServerProcess, free_port
from clarion_bench.stream import EventStream

# Redis spends about 50 µs on an event, and 1 µs more for each gateway. To see that 1 µs beside
# Redis' own clock, the window needs more than a thousand events.
_EVENTS_PER_SECOND = 200.0
_SOCKETS_EACH = 20
_BATCH = 100
_BATCHES = 30
_FILLING = 500


class Fleet:
    """The sockets of all gateways, with one load process for each gateway."""

    def __init__(self) -> None:
        self._loaders: list[Loader] = []

    @property
    def events(self) -> int:
        """Deliveries received so far, up to each process's last round of reading."""
        return sum(loader.events for loader in self._loaders)

    def join(self, port: int, queries: Sequence[str]) -> None:
        """Open one socket per query string to the gateway on this port.

        Raises:
            LoadError: a socket could not be opened.
        """
        orders = Orders(port, CLARION, sampling=False, pause_seconds=BULK_PAUSE_SECONDS)
        loader = Loader(orders)
        self._loaders.append(loader)
        opened = loader.open(queries, CONCURRENCY)
        if opened.failures:
            raise LoadError(f"{opened.failures} sockets could not be opened: {opened.reason}")

    def tally(self) -> Tally:
        """Ask all processes for their counters."""
        return added_up([loader.snapshot() for loader in self._loaders])

    def close(self) -> None:
        """Close every socket and end all processes."""
        for loader in self._loaders:
            loader.close()


def gateways(
    numbers: Sequence[int], seconds: float, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[GatewaysPoint]:
    """Start more gateways until there are as many as the next number, and measure all of them.

    Args:
        numbers: of gateways, in rising order.
        seconds: length of each window with events, and of the one without.
    """
    queries = clarion.queries(numbers[-1] * _SOCKETS_EACH)
    running: list[ServerProcess] = []
    with (
        contextlib.ExitStack() as stack,
        contextlib.closing(Fleet()) as fleet,
        contextlib.closing(clarion.to_all(bench.broker.url)) as publisher,
    ):
        # A full history drops its oldest events, so that every point does the same work.
        for _ in range(clarion.HISTORY.max_events // _FILLING):
            publisher.publish([payload.encode(0)] * _FILLING)
        for number in numbers:
            announce(f"{number} gateways on one Redis")
            while len(running) < number:
                port = free_port()
                launch = clarion.gateway(port, bench.broker.url)
                name = f"gateway-{len(running)}"
                process = stack.enter_context(bench.serving(name, launch))
                first = len(running) * _SOCKETS_EACH
                fleet.join(port, queries[first : first + _SOCKETS_EACH])
                running.append(process)
            stream = EventStream(publisher, fleet, number * _SOCKETS_EACH)
            meter = Meter(running, bench.broker, fleet)
            costs = meter.measure(stream, _EVENTS_PER_SECOND, seconds)
            yield GatewaysPoint(
                gateways=number,
                sockets_each=_SOCKETS_EACH,
                events_per_second=_EVENTS_PER_SECOND,
                redis_us=costs.redis_us,
                redis_batched_us=meter.measure_batches(stream, _BATCHES, _BATCH).redis_us,
                publishing_us=costs.publishing_us,
                pod_us=costs.gateways_us / number,
                pod_us_per_delivery=costs.gateways_us / number / _SOCKETS_EACH,
                busy=costs.busy,
            )
