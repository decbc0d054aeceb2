"""The upstream: messages through one gateway to an HTTP backend, and other clients while it hangs.

The backend is local and answers at once. For the second part, some clients send messages that the
backend never answers, while others get events. The same clients send as many messages in turn that
it answers, so the ratio of both latencies is the hanging backend's share.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from clarion_bench import clarion
from clarion_bench.backend import ANSWERED, HANGING
from clarion_bench.busy import Busy
from clarion_bench.crowd import Crowd
from clarion_bench.dialects import CLARION
from clarion_bench.laboratory import Laboratory
from clarion_bench.launch import Launch
from clarion_bench.payload import encode
from clarion_bench.processes import ServerProcess, free_port, running
from clarion_bench.results import Upstream, percentile
from clarion_bench.senders import Senders, Sent
from clarion_bench.window import clock

_SECRET: Final = "a-secret-for-benchmarks-on-loopback-only"  # noqa: S105
_WARM_UP_SECONDS: Final = 2.0
# A client that waits for an answer, and then sends its next message.
_PAUSE_SECONDS: Final = 1.0
_BACK_SECONDS: Final = 30.0
_WINDOWS: Final = 3


@dataclass(frozen=True)
class UpstreamOptions:
    """The options.

    Attributes:
        senders: clients that send to the backend, each one message at a time.
        waiting: clients whose messages the backend does not answer.
        others: clients that get events meanwhile, `rate` a second.
        seconds: length of each window.
    """

    senders: int = 64
    waiting: int = 300
    others: int = 200
    rate: float = 50.0
    seconds: float = 10.0


def upstream(
    options: UpstreamOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Upstream]:
    """Ask the backend as fast as it goes, then let it hang for some clients, in turns."""
    backend, port = free_port(), free_port()
    launch = _asking(clarion.gateway(port, bench.broker.url), backend)
    command = [sys.executable, "-m", "clarion_bench.backend", str(backend)]
    with (
        running("backend", command, cores=bench.cores.client, directory=bench.directory) as other,
        bench.serving("gateway", launch) as gateway,
    ):
        announce(f"{options.senders} clients, each with one message under way")
        answered, seconds, cpu, busy = _throughput(port, gateway, other, options, bench)
        announce(f"events to {options.others} clients while {options.waiting} others wait")
        usual, hanging = _others(port, options, bench)
    yield Upstream(
        senders=options.senders,
        messages_per_second=answered.answered / seconds,
        cpu_us_per_message=cpu * 1e6 / max(answered.answered, 1),
        p99_ms=percentile(answered.latencies_ns, 0.99) / 1e6,
        refusals=answered.refusals,
        waiting=options.waiting,
        others_p99_ms=percentile(usual, 0.99) / 1e6,
        others_hanging_p99_ms=percentile(hanging, 0.99) / 1e6,
        busy=busy,
    )


def _asking(launch: Launch, backend: int) -> Launch:
    env = {
        "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{backend}/",
        "GATEWAY_UPSTREAM_SECRET": _SECRET,
        # A sender stands for many clients, and is as fast as the answers.
        "GATEWAY_MESSAGES_PER_SECOND": "10000",
    }
    return replace(launch, env={**launch.env, **env})


def _throughput(
    port: int,
    gateway: ServerProcess,
    backend: ServerProcess,
    options: UpstreamOptions,
    bench: Laboratory,
) -> tuple[Sent, float, float, Busy]:
    """Messages from all senders at once; their count, the seconds, and the gateway's CPU."""
    senders = Senders(port, CLARION, clarion.queries(options.senders))
    with contextlib.closing(senders):
        senders.run(ANSWERED, _WARM_UP_SECONDS)
        before = clock(gateway, bench.broker, backend.cpu_seconds())
        sent = senders.run(ANSWERED, options.seconds)
        after = clock(gateway, bench.broker, backend.cpu_seconds())
        senders.settle()
    return sent, after.at - before.at, after.server - before.server, after.busy_since(before)


def _others(port: int, options: UpstreamOptions, bench: Laboratory) -> tuple[list[int], list[int]]:
    """Latencies of events in ns: while the backend answers others, and while it does not."""
    crowd = Crowd(port, CLARION)
    senders = Senders(port, CLARION, clarion.queries(options.waiting))
    found: dict[str, list[int]] = {ANSWERED: [], HANGING: []}
    with contextlib.closing(crowd), contextlib.closing(senders):
        crowd.open(["" for _ in range(options.others)], sampled=options.others // 2)
        for _ in range(_WINDOWS):
            for type_ in (ANSWERED, HANGING):
                _wait_until_it_answers(senders)
                found[type_] += _window(type_, crowd, senders, options, bench)
    return found[ANSWERED], found[HANGING]


def _window(
    type_: str, crowd: Crowd, senders: Senders, options: UpstreamOptions, bench: Laboratory
) -> list[int]:
    crowd.tally()
    ends = time.monotonic() + options.seconds
    publishing = threading.Thread(target=_publish, args=(ends, options.rate, bench.broker.url))
    publishing.start()
    senders.run(type_, options.seconds, _PAUSE_SECONDS)
    publishing.join()
    return crowd.tally().latencies_ns


def _publish(ends: float, rate: float, redis_url: str) -> None:
    with contextlib.closing(clarion.to_all(redis_url)) as publisher:
        number = 0
        began = time.monotonic()
        while (now := time.monotonic()) < ends:
            publisher.publish([encode(number)])
            number += 1
            time.sleep(max(0.0, began + number / rate - now))


def _wait_until_it_answers(senders: Senders) -> None:
    """Return once messages are answered: the gateway may have given the backend up."""
    senders.settle()
    deadline = time.monotonic() + _BACK_SECONDS
    while time.monotonic() < deadline:
        sent: Sent = senders.run(ANSWERED, 1.0, _PAUSE_SECONDS)
        senders.settle()
        if sent.answered and not sent.refusals:
            return
