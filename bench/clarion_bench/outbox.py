"""The outbox: how fast one publisher empties it, and how soon a commit is on a socket."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from clarion_bench import clarion
from clarion_bench.laboratory import Laboratory
from clarion_bench.launch import Launch
from clarion_bench.processes import ServerProcess, free_port
from clarion_bench.publishers import EVENT_TYPE
from clarion_bench.results import Outbox, percentile
from clarion_bench.window import Clock, clock
from clarion_publisher.sources.outbox import schema

_USERS = 500
# Measured between these shares of the backlog: without start and end.
_FROM, _TO = 0.95, 0.05
_POLL_SECONDS = 0.05
_LAST_EVENT_SECONDS = 30.0
_FILL = """
INSERT INTO clarion_outbox (audience, type, data)
SELECT %s || n %% %s, %s, json_build_object('id', n, 'state', 'sent', 'note', repeat('x', 60))
FROM generate_series(1, %s) AS n
"""


@dataclass(frozen=True)
class OutboxOptions:
    """The options.

    Attributes:
        url: of a PostgreSQL database. Its outbox is made, and rows that wait there are deleted.
        rate: rows per second, each in a transaction of its own, while latency is measured.
    """

    url: str
    rows: int = 50_000
    rate: float = 200.0
    seconds: float = 10.0


def outbox(
    options: OutboxOptions, bench: Laboratory, announce: Callable[[str], None]
) -> Iterator[Outbox]:
    """Fill an outbox, let a publisher empty it, then commit rows one by one to a socket."""
    asyncio.run(_prepare(options.url))
    user = clarion.user(0)
    with psycopg.connect(options.url, autocommit=True) as database:
        database.execute("TRUNCATE clarion_outbox")
        announce(f"filling the outbox with {options.rows:,} rows")
        prefix = f"user:{user.removesuffix('0')}"
        database.execute(_FILL, [prefix, _USERS, EVENT_TYPE, options.rows])
        gateway = free_port()
        launches = (
            _reading(clarion.publisher(free_port(), bench.broker.url), options.url),
            clarion.gateway(gateway, bench.broker.url),
        )
        # The publisher works before it is ready, so nothing waits for that.
        with bench.started("publisher", launches[0]) as publisher:
            announce(f"publisher: {options.rows:,} rows that wait")
            before, after, rows = _emptied(database, publisher, options.rows, bench)
            with bench.serving("gateway", launches[1]):
                announce(f"{options.rate:g} commits/s to one socket")
                latencies = _Latencies(gateway, user).measure(database, options)
    seconds = after.at - before.at
    yield Outbox(
        rows=rows,
        rows_per_second=rows / seconds,
        cpu_us_per_row=(after.server - before.server) * 1e6 / rows,
        commits_per_second=options.rate,
        p50_ms=percentile(latencies, 0.50) / 1e6,
        p99_ms=percentile(latencies, 0.99) / 1e6,
        busy=after.busy_since(before),
    )


async def _prepare(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await schema.apply(connection, notify=True)


def _reading(launch: Launch, url: str) -> Launch:
    return replace(launch, env={**launch.env, "PUBLISHER_OUTBOX_URL": url})


def _emptied(
    database: psycopg.Connection[Any], publisher: ServerProcess, rows: int, bench: Laboratory
) -> tuple[Clock, Clock, int]:
    """The clocks between two shares of the backlog, and the rows published between them."""
    first = _wait_below(database, rows * _FROM)
    before = clock(publisher, bench.broker, 0.0)
    last = _wait_below(database, rows * _TO)
    after = clock(publisher, bench.broker, 0.0)
    _wait_below(database, 1)
    return before, after, first - last


def _wait_below(database: psycopg.Connection[Any], rows: float) -> int:
    """Return how many rows wait, once these are fewer."""
    while True:
        row = database.execute("SELECT count(*) FROM clarion_outbox").fetchone()
        if row is not None and row[0] < rows:
            return int(row[0])
        time.sleep(_POLL_SECONDS)


class _Latencies:
    """One socket of one user, and when each of its rows was committed."""

    def __init__(self, port: int, user: str) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws"
        self._user = user
        self._committed: dict[int, int] = {}
        self._latencies: list[int] = []

    def measure(self, database: psycopg.Connection[Any], options: OutboxOptions) -> list[int]:
        """From before the commit to the socket, in nanoseconds, for each row."""
        rows = int(options.rate * options.seconds)
        headers = {"Authorization": f"Bearer {clarion.token(self._user)}"}
        with connect(
            self._url,
            subprotocols=[Subprotocol("clarion.v1")],
            additional_headers=headers,
            proxy=None,
        ) as client:
            client.recv()  # welcome
            hearing = threading.Thread(target=self._hear, args=(client, rows))
            hearing.start()
            began = time.monotonic()
            for number in range(rows):
                time.sleep(max(0.0, began + number / options.rate - time.monotonic()))
                self._committed[number] = time.monotonic_ns()
                database.execute(
                    "SELECT clarion_publish(%s, %s, to_jsonb(%s::int))",
                    [f"user:{self._user}", EVENT_TYPE, number],
                )
            hearing.join()
        return self._latencies

    def _hear(self, client: Any, rows: int) -> None:  # noqa: ANN401 - websockets' connection
        while len(self._latencies) < rows:
            message = json.loads(client.recv(timeout=_LAST_EVENT_SECONDS))
            if message["kind"] == "event":
                at = self._committed[message["data"]]
                self._latencies.append(time.monotonic_ns() - at)
