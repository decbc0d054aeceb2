"""Failures at random on real processes. A ledger in the same database knows what must come of it.

Each transaction writes the same number into the outbox and into a table of its own, the ledger. So
the ledger holds exactly the committed rows, whatever the writer was told about its commit.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.events.audience import Audience
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET
from tests.pgbouncer import NO_POOLER, pgbouncer, program
from tests.postgres import Outbox, Postgres
from tests.processes import Process
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

pytestmark = pytest.mark.timeout(600)

AUDIENCES = ("all", "user:alice", "user:bob", "topic:order.1")
FAULTS = 12
ROWS_BETWEEN_FAULTS = 20


class Writers:
    """Threads that write as an application does: in order for each audience, with rollbacks."""

    def __init__(self, outbox: Outbox, seed: int) -> None:
        self._outbox = outbox
        self._seed = seed
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        chance = random.Random(self._seed * 10 + number)
        while not self._stop.is_set():
            with contextlib.suppress(psycopg.Error), self._outbox.connect() as connection:
                while not self._stop.is_set():
                    self._write(connection, chance)

    def _write(self, connection: psycopg.Connection[object], chance: random.Random) -> None:
        """One transaction: several rows of several audiences, each in the order of a lock."""
        for audience in sorted(chance.sample(AUDIENCES, chance.randint(1, 2))):
            # What an application locks: the thing that changes.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [audience])
            for _ in range(chance.randint(1, 3)):
                connection.execute(
                    "WITH noted AS (INSERT INTO ledger (audience) VALUES (%(a)s) RETURNING id) "
                    "SELECT clarion_publish(%(a)s, 'tick', to_jsonb(id)) FROM noted",
                    {"a": audience},
                )
        time.sleep(chance.choice((0, 0, 0.02, 0.1)))
        if chance.random() < 0.25:
            connection.rollback()
        else:
            connection.commit()


class Publishers:
    """Two processes with the same outbox."""

    def __init__(self, folder: Path, redis_url: str, outbox_url: str, namespace: str) -> None:
        self._folder, self._redis_url, self._namespace = folder, redis_url, namespace
        self._outbox_url = outbox_url
        self._starts = 0
        self.running = [self._started(), self._started()]

    def kill_one(self, chance: random.Random) -> None:
        place = chance.randrange(2)
        self.running[place].process.kill()
        self.running[place].process.wait()
        self.running[place] = self._started()

    def _started(self) -> Process:
        self._starts += 1
        return Process(
            "publisher",
            self._folder / f"publisher-{self._starts}.log",
            self._redis_url,
            CLARION_NAMESPACE=self._namespace,
            PUBLISHER_OUTBOX_URL=self._outbox_url,
            PUBLISHER_OUTBOX_POLL_SECONDS="0.05",
            PUBLISHER_OUTBOX_BATCH_ROWS="7",
        )


@pytest.fixture(params=["directly", "through a pooler"])
def outbox_url(request: pytest.FixtureRequest, outbox_of_its_own: Outbox) -> Iterator[str]:
    """The publishers' way to the database."""
    if request.param == "directly":
        yield outbox_of_its_own.url
        return
    if program() is None:
        pytest.skip(NO_POOLER)
    with pgbouncer(outbox_of_its_own.server) as pooler:
        yield pooler.url(outbox_of_its_own.name)


@pytest.fixture
def publishers(
    tmp_path: Path, lasting_valkey: Valkey, outbox_url: str, namespace: str
) -> Iterator[Publishers]:
    with contextlib.ExitStack() as stack:
        found = Publishers(tmp_path, lasting_valkey.url, outbox_url, namespace)
        stack.callback(lambda: [each.__exit__() for each in found.running])
        yield found


@pytest.fixture
def outbox_of_its_own(postgres: Postgres) -> Outbox:
    outbox = postgres.new_outbox(notify=True)
    outbox.execute("CREATE TABLE ledger (id serial, audience text)")
    # Most failures then fall between publishing rows and deleting them.
    outbox.execute(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END'"
    )
    outbox.execute(
        "CREATE TRIGGER slowly BEFORE DELETE ON clarion_outbox "
        "FOR EACH STATEMENT EXECUTE FUNCTION slowly()"
    )
    return outbox


def ledger(outbox: Outbox) -> list[tuple[str, int]]:
    return outbox.rows("SELECT audience, id FROM ledger ORDER BY id")


def handed_over(outbox: Outbox) -> int:
    """Rows that were committed, published and deleted: publishers that start find time to work."""
    ((count,),) = outbox.rows(
        "SELECT (SELECT count(*) FROM ledger) - (SELECT count(*) FROM clarion_outbox)"
    )
    return int(count)


def strike(
    chance: random.Random, publishers: Publishers, postgres: Postgres, valkey: Valkey
) -> None:
    """Something fails, and comes back at once."""
    fault = chance.choice(("publisher", "redis", "connections", "postgres"))
    if fault == "publisher":
        publishers.kill_one(chance)
    elif fault == "redis":
        valkey.kill()
        valkey.start()
    elif fault == "connections":
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
    else:
        postgres.kill()
        postgres.start()


async def published(redis_url: str, namespace: str, audience: str) -> list[int]:
    settings = PublisherSettings(redis_url=redis_url, namespace=namespace, jwt_secret=SECRET)
    bus = Bus(redis_from_url(redis_url), settings.keyspace, settings.history)
    stream = Audience(*audience.partition(":")[::2])
    (history,) = await bus.history([(stream, 0)], limit=10_000, broken_too=True)
    await bus.aclose()
    return [int(event.data) for event in history.events]


async def test_every_committed_row_is_published_once_in_order_and_no_other(
    publishers: Publishers,
    postgres: Postgres,
    outbox_of_its_own: Outbox,
    lasting_valkey: Valkey,
    namespace: str,
) -> None:
    outbox = outbox_of_its_own
    seed = random.randrange(1_000_000)
    print("seed", seed)
    chance = random.Random(seed)
    with Writers(outbox, seed):
        for _ in range(FAULTS):
            strike(chance, publishers, postgres, lasting_valkey)
            enough = handed_over(outbox) + ROWS_BETWEEN_FAULTS
            wait_until(lambda: handed_over(outbox) >= enough, "rows go on", seconds=120)  # noqa: B023
    wait_until(lambda: outbox.waiting == 0, "no row waits", seconds=120)
    assert outbox.refused == []
    rows = ledger(outbox)
    for audience in AUDIENCES:
        expected = [id_ for name, id_ in rows if name == audience]
        assert await published(lasting_valkey.url, namespace, audience) == expected, seed
