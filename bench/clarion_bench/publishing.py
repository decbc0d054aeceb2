"""Publishing over HTTP: how much one publisher on one core accepts, singly and in batches."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clarion_bench import centrifugo, clarion, payload
from clarion_bench.callers import SERIAL, Callers, Calls, request
from clarion_bench.checkout import INSTALLED, Checkout
from clarion_bench.laboratory import Laboratory
from clarion_bench.launch import Launch
from clarion_bench.processes import ServerProcess, free_port
from clarion_bench.publishers import EVENT_TYPE
from clarion_bench.results import Publishing, percentile
from clarion_bench.window import Clock, clock

_EVENTS_UNDER_WAY = 8_000
_TYPE = EVENT_TYPE.encode()
_CLOUDEVENTS = "application/cloudevents"

CATALOGUE = Path(__file__).parent / "catalogue.yaml"
"""Declares the data of every event."""


@dataclass(frozen=True)
class PublishingOptions:
    """The options. A batch of 1 means the endpoint for single events.

    Large batches come from fewer callers. Otherwise the publisher's limit on events that wait for
    Redis (PUBLISHER_MAX_PENDING, 10,000 events) would refuse them.
    """

    servers: Sequence[str] = ("clarion",)
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
    """Measure each batch size against one publisher of each server."""
    for name in options.servers:
        intake = INTAKES[name]
        if name == "clarion":
            intake = Intake(functools.partial(clarion.publisher, code=code), message)
        yield from _publishing(name, intake, options, bench, announce)


def _publishing(
    name: str,
    intake: "Intake",
    options: PublishingOptions,
    bench: Laboratory,
    announce: Callable[[str], None],
) -> Iterator[Publishing]:
    port = free_port()
    launch = intake.launch(port, bench.broker.url)
    with bench.serving(f"{name}-publisher", launch) as server:
        for batch in options.batches:
            announce(f"{name}: {batch:,} events per request, {options.callers(batch)} callers")
            with contextlib.closing(
                Callers(port, intake.message(port, batch), options.callers(batch))
            ) as callers:
                yield _measure(name, batch, options, callers, server, bench)


def message(port: int, batch: int) -> bytes:
    """Return the request for a batch; for 1, the request of the endpoint for single events."""
    event = b'{"audience":"all","type":"%b","data":%b}' % (_TYPE, payload.encode(0))
    return _request(port, [event] * batch)


def _request(port: int, events: Sequence[bytes]) -> bytes:
    if len(events) == 1:
        return request(port, "/v1/events", _bearer(), events[0])
    return request(port, "/v1/events:batch", _bearer(), b'{"events":[%b]}' % b",".join(events))


def _bearer() -> str:
    return f"Authorization: Bearer {clarion.token('bench', scope=clarion.SCOPES)}"


def cloudevents(port: int, batch: int) -> bytes:
    """Return the request for a batch of CloudEvents; for 1, of one in structured mode."""
    events = [
        b'{"specversion":"1.0","id":"%b-%d","source":"/bench","type":"%b","clarionaudience":"all",'
        b'"data":%b}' % (SERIAL, number, _TYPE, payload.encode(0))
        for number in range(batch)
    ]
    if batch == 1:
        return request(port, "/v1/events", _bearer(), events[0], f"{_CLOUDEVENTS}+json")
    body = b"[%b]" % b",".join(events)
    return request(port, "/v1/events", _bearer(), body, f"{_CLOUDEVENTS}-batch+json")


def keyed(port: int, batch: int) -> bytes:
    """Return the request for a batch whose events have keys, as CloudEvents always do."""
    events = [
        b'{"audience":"all","type":"%b","key":"%b-%d","data":%b}'
        % (_TYPE, SERIAL, number, payload.encode(0))
        for number in range(batch)
    ]
    return _request(port, events)


def _declaring(port: int, redis_url: str) -> Launch:
    launch = clarion.publisher(port, redis_url)
    return replace(launch, env={**launch.env, "CLARION_CATALOGUE": str(CATALOGUE)})


@dataclass(frozen=True)
class Intake:
    """A server that takes events over HTTP: its start, and the request with a batch of them."""

    launch: Callable[[int, str], Launch]
    message: Callable[[int, int], bytes]


INTAKES: Mapping[str, Intake] = {
    "clarion": Intake(clarion.publisher, message),
    "clarion-declared": Intake(_declaring, message),
    "clarion-keyed": Intake(clarion.publisher, keyed),
    "clarion-cloudevents": Intake(clarion.publisher, cloudevents),
    "centrifugo": Intake(
        centrifugo.node, lambda port, batch: centrifugo.message(port, batch, payload.encode(0))
    ),
}


def _measure(
    name: str,
    batch: int,
    options: PublishingOptions,
    callers: Callers,
    server: ServerProcess,
    bench: Laboratory,
) -> Publishing:
    callers.run(options.warmup_seconds)
    before = clock(server, bench.broker, 0.0)
    calls = callers.run(options.seconds)
    after = clock(server, bench.broker, 0.0)
    return _result(name, batch, options.callers(batch), calls, before, after)


def _result(
    name: str, batch: int, concurrency: int, calls: Calls, before: Clock, after: Clock
) -> Publishing:
    seconds = after.at - before.at
    events = (calls.answered - calls.refusals) * batch
    return Publishing(
        server=name,
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
