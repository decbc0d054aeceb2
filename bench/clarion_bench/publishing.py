"""Publishing over HTTP: how much one publisher on one core accepts, singly and in batches."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clarion_bench import clarion, payload
from clarion_bench.callers import Callers, Calls, request
from clarion_bench.checkout import INSTALLED, Checkout
from clarion_bench.laboratory import Laboratory
from clarion_bench.processes import ServerProcess, free_port, running
from clarion_bench.publishers import EVENT_TYPE
from clarion_bench.results import Publishing, percentile
from clarion_bench.window import Clock, clock

_EVENTS_UNDER_WAY = 8_000


@dataclass(frozen=True)
class PublishingOptions:
    """The options. A batch of 1 means the endpoint for single events.

    Large batches come from fewer callers. Otherwise the publisher's limit on events that wait for
    Redis (PUBLISHER_MAX_PENDING, 10,000 events) would refuse them.
    """

    batches: Sequence[int] = (1, 100, 1_000)
    concurrency: int = 64
    seconds: float = 10.0
    warmup_seconds: float = 2.0

    def callers(self, batch: int) -> int:
        """Return how many callers send batches of this size at a time."""
        return min(self.concurrency, max(1, _EVENTS_UNDER_WAY // batch))


def publishing(
    options: PublishingOptions,
    bench: Laboratory,
    announce: Callable[[str], None],
    code: Checkout = INSTALLED,
) -> Iterator[Publishing]:
    """Measure each batch size against one publisher."""
    port = free_port()
    launch = clarion.publisher(port, bench.broker.url, code)
    with running(
        "publisher",
        launch.command,
        cores=bench.cores.server,
        directory=bench.directory,
        env=launch.env,
    ) as server:
        server.wait_ready(launch.ready)
        for batch in options.batches:
            announce(f"publisher: {batch:,} events per request, {options.callers(batch)} callers")
            yield _measure(batch, options, port, server, bench)


def message(port: int, batch: int) -> bytes:
    """Return the request for a batch; for 1, the request of the endpoint for single events."""
    token = clarion.token("bench", clarion.SCOPES)
    event = b'{"audience":"all","type":"%b","data":%b}' % (EVENT_TYPE.encode(), payload.encode(0))
    if batch == 1:
        return request(port, "/v1/events", token, event)
    return request(port, "/v1/events:batch", token, b'{"events":[%b]}' % b",".join([event] * batch))


def _measure(
    batch: int,
    options: PublishingOptions,
    port: int,
    server: ServerProcess,
    bench: Laboratory,
) -> Publishing:
    concurrency = options.callers(batch)
    with contextlib.closing(Callers(port, message(port, batch), concurrency)) as callers:
        callers.run(options.warmup_seconds)
        before = clock(server, bench.broker, 0.0)
        calls = callers.run(options.seconds)
        after = clock(server, bench.broker, 0.0)
    return _result(batch, concurrency, calls, before, after)


def _result(batch: int, concurrency: int, calls: Calls, before: Clock, after: Clock) -> Publishing:
    seconds = after.at - before.at
    events = (calls.answered - calls.refusals) * batch
    return Publishing(
        batch=batch,
        concurrency=concurrency,
        seconds=seconds,
        requests_per_second=calls.answered / seconds,
        events_per_second=events / seconds,
        cpu_us_per_event=(after.server - before.server) * 1e6 / events if events else 0.0,
        p50_ms=percentile(calls.latencies_ns, 0.50) / 1e6,
        p99_ms=percentile(calls.latencies_ns, 0.99) / 1e6,
        refusals=calls.refusals,
        busy=after.busy_since(before),
    )
