"""PgBouncer in transaction mode between a publisher and PostgreSQL.

The other tests of this folder run with it, too; these are about the pooler itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clarion_contract.events.audience import ALL
from clarion_publisher.sources.outbox.database import Limits, connected, conninfo_of
from tests.pgbouncer import PgBouncer, pgbouncer
from tests.postgres import Postgres
from tests.publisher.sources.outbox.reading import reading, rows, wait_for
from tests.redis_topologies import wait_until


@pytest.fixture
def own_pooler(pooler: PgBouncer) -> Iterator[PgBouncer]:
    """A pooler for one test, to end and restart."""
    with pgbouncer(pooler.server) as found:
        yield found


async def test_it_is_noticed_and_nobody_listens_through_it(
    pooler: PgBouncer, shared_postgres: Postgres
) -> None:
    outbox = pooler.new_outbox(notify=True)
    async with connected(conninfo_of(outbox.url)) as database:
        assert not database.listens
    async with connected(conninfo_of(shared_postgres.url(outbox.name))) as database:
        assert database.listens


async def test_the_lock_of_the_reader_ends_with_its_transaction(pooler: PgBouncer) -> None:
    """Each transaction may have another connection to the server, which lives on after it."""
    outbox = pooler.new_outbox()
    outbox.insert("all", "1")
    conninfo = conninfo_of(outbox.url)
    limits = Limits(10, 1_000)
    async with connected(conninfo) as first, connected(conninfo) as second:
        for reader, other in ((first, second), (second, first)) * 5:
            assert await reader.begin()
            assert len(await reader.read(limits, [])) == 1
            assert not await other.begin()
            await other.abandon()
            await reader.finish([], {})


def test_rows_go_on_after_the_pooler_has_ended(
    redis_url: str, own_pooler: PgBouncer, namespace: str
) -> None:
    outbox = own_pooler.new_outbox()
    with reading(redis_url, outbox, namespace) as service:
        for number in range(3):
            outbox.insert("all", str(number))
            wait_for(service, ALL, range(number + 1))
            own_pooler.kill()
            wait_until(
                lambda: service.metric("clarion_publisher_outbox_connected") == 0, "it is lost"
            )
            own_pooler.start()
        outbox.insert("all", "3")
        wait_for(service, ALL, range(4))
        assert service.metric(rows("published")) == 4
