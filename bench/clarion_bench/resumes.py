"""A storm of clients that resume: all come at once, and have missed an event or two.

They come to a fresh gateway, as after the end of a pod, and then to the same one again, as after a
cut. Each client is another user. There was one event to all since its position, and one to every
second user.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import redis

from clarion_bench import clarion, payload
from clarion_bench.contenders import Contender, Started, started
from clarion_bench.crowd import Crowd, LoadError
from clarion_bench.laboratory import Laboratory
from clarion_contract.events.audience import ALL, user_audience

_STORMS: Final = ("a fresh gateway", "after a cut")
# So many handshakes are under way: in a storm, all of a run of the usual size.
_AT_ONCE: Final = 2_000
_GRACE_SECONDS: Final = 60.0
_BATCH: Final = 500


@dataclass(frozen=True)
class _Spent:
    """CPU seconds of the gateway and of Redis, and scripts that Redis ran for clients."""

    server: float
    broker: float
    scripts: int

    def since(self, before: "_Spent") -> "_Spent":
        return _Spent(
            self.server - before.server,
            self.broker - before.broker,
            self.scripts - before.scripts,
        )


def resumes(contender: Contender, connections: int, bench: Laboratory) -> Mapping[str, float]:
    """Measure both storms on one gateway; of each figure, less is better.

    Raises:
        LoadError: a client was refused, or did not get what it missed.
    """
    figures: dict[str, float] = {}
    with started(contender, bench) as server:
        for storm in _STORMS:
            since = _publish(connections, bench)
            seconds, spent = _come_back(server, since, connections, bench)
            figures[f"resume, {storm}: CPU µs"] = spent.server * 1e6 / connections
            figures[f"resume, {storm}: Redis CPU µs"] = spent.broker * 1e6 / connections
            figures[f"resume, {storm}: scripts a client"] = spent.scripts / connections
            figures[f"resume, {storm}: s until all are back"] = seconds
    return figures


def _publish(connections: int, bench: Laboratory) -> int:
    """Publish what the clients miss; return their position, which lies before."""
    users = [user_audience(clarion.user(index)) for index in range(0, connections, 2)]
    with contextlib.closing(clarion.to_each(bench.broker.url, [ALL])) as to_all:
        to_all.publish([payload.encode(0)])
        since = to_all.position
        to_all.publish([payload.encode(1)])
    with contextlib.closing(clarion.to_each(bench.broker.url, users)) as to_users:
        for first in range(0, len(users), _BATCH):
            numbers = range(first, min(first + _BATCH, len(users)))
            to_users.publish([payload.encode(number) for number in numbers])
    return since


def _come_back(
    server: Started, since: int, connections: int, bench: Laboratory
) -> tuple[float, _Spent]:
    """Open all connections; return the seconds that it took, and what was spent."""
    contender = server.contender
    queries = [f"{query}&since={since}" for query in contender.queries(connections)]
    with contextlib.closing(Crowd(server.port, contender.dialect)) as crowd:
        before = _spent(server, bench)
        opened = crowd.open(queries, at_once=_AT_ONCE)
        _wait(crowd, connections + (connections + 1) // 2)
        return opened.seconds, _spent(server, bench).since(before)


def _wait(crowd: Crowd, expected: int) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while crowd.events < expected:
        if time.monotonic() > deadline:
            raise LoadError(f"{crowd.events:,} of {expected:,} missed events came back")
        time.sleep(0.05)


def _spent(server: Started, bench: Laboratory) -> _Spent:
    with contextlib.closing(redis.Redis.from_url(bench.broker.url)) as client:
        # redis-py's annotation covers its asynchronous client, too.
        stats = cast("dict[str, dict[str, Any]]", client.info("commandstats"))
    scripts = int(stats.get("cmdstat_evalsha", {}).get("calls", 0))
    return _Spent(server.process.cpu_seconds(), bench.broker.process.cpu_seconds(), scripts)
