"""A replica takes over under traffic: each row that it has is published once, and in order.

The replica is synchronous, so it has every row that was committed. A ledger, written in the same
transactions, says which these are. Of an asynchronous replica, docs/outbox.md says what may differ.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest

from clarion_contract.events.audience import ALL
from tests.postgres import Postgres
from tests.publisher.sources.outbox.reading import numbers_of, reading, rows
from tests.redis_topologies import wait_until

pytestmark = pytest.mark.timeout(600)

_SYNCHRONOUS = ("synchronous_standby_names=*", "synchronous_commit=on")
_ROWS = 100


class Writer:
    """An application with one connection, to whichever server takes writes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        options = {"target_session_attrs": "read-write", "connect_timeout": 5}
        while not self._stop.wait(0.02):
            with (
                contextlib.suppress(psycopg.Error),
                psycopg.connect(self._url, **options) as connection,  # type: ignore[arg-type]
            ):
                while not self._stop.wait(0.002):
                    number += 1
                    connection.execute("INSERT INTO ledger VALUES (%s)", [number])
                    connection.execute(
                        "SELECT clarion_publish('all', 'tick', to_jsonb(%s::int))", [number]
                    )
                    connection.commit()


@pytest.fixture
def primary() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def replica(primary: Postgres) -> Iterator[Postgres]:
    server = primary.replica()
    try:
        server.start()
        primary.options = _SYNCHRONOUS
        primary.stop()
        primary.start()
        yield server
    finally:
        server.remove()


def test_a_replica_that_is_promoted_has_each_row_published_once(
    redis_url: str, primary: Postgres, replica: Postgres, namespace: str
) -> None:
    outbox = primary.new_outbox()
    outbox.execute("CREATE TABLE ledger (number int PRIMARY KEY)")
    both = outbox.url.replace(f":{primary.port}/", f":{primary.port},127.0.0.1:{replica.port}/")
    outbox.server = replica  # as the application sees it from now on

    def arrived() -> bool:
        """Commits of a synchronous replica wait for its disk, and show there a moment later."""
        try:
            return committed() == []
        except psycopg.Error:
            return False

    def committed() -> list[int]:
        return [number for (number,) in outbox.rows("SELECT number FROM ledger ORDER BY number")]

    wait_until(arrived, "the tables are on the replica", seconds=120)
    with reading(redis_url, outbox, namespace, outbox_url=both) as service:
        with Writer(both):
            wait_until(lambda: len(committed()) >= _ROWS, "rows before", seconds=120)
            primary.kill()
            before = len(committed())
            replica.execute("SELECT pg_promote()")
            wait_until(lambda: len(committed()) >= before + _ROWS, "rows after", seconds=120)
        expected = committed()
        wait_until(
            lambda: outbox.waiting == 0 and len(numbers_of(service, ALL)) >= len(expected),
            "all are published",
            seconds=120,
        )
        assert numbers_of(service, ALL) == expected
        assert service.metric(rows("refused")) == 0
