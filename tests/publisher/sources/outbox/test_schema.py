"""The migration: it can be repeated, brings older ones up to date, and leaves newer ones alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from clarion_contract.events.audience import ALL
from clarion_publisher.sources.outbox import fault, schema
from clarion_publisher.sources.outbox.database import connected, conninfo_of
from tests.postgres import Outbox, Postgres
from tests.publisher.sources.outbox.reading import reading, wait_for
from tests.redis_topologies import wait_until


async def applied(outbox: Outbox, *, notify: bool | None = None) -> int | None:
    async with await psycopg.AsyncConnection.connect(outbox.url) as connection:
        return await schema.apply(connection, notify=notify)


async def test_it_can_be_repeated(outbox: Outbox) -> None:
    outbox.insert("all", "1")
    (identity,) = outbox.rows("SELECT identity FROM clarion_outbox_version")
    assert await applied(outbox) == schema.VERSION
    assert outbox.waiting == 1
    assert outbox.rows("SELECT identity FROM clarion_outbox_version") == [identity]


async def test_an_older_outbox_is_brought_up_to_date(outbox: Outbox) -> None:
    outbox.execute("UPDATE clarion_outbox_version SET version = 0")
    with pytest.raises(fault.OutboxFault, match="of version 0, and this publisher needs"):
        async with connected(conninfo_of(outbox.url)):
            pass
    assert await applied(outbox) == 0
    async with connected(conninfo_of(outbox.url)):
        pass


def test_the_first_version_is_read_and_brought_up_to_date(
    outbox: Outbox, redis_url: str, namespace: str
) -> None:
    """Publishers may be updated before the tables are, and rows wait through the migration."""
    outbox.execute(
        "DROP TABLE clarion_outbox, clarion_outbox_refused, clarion_outbox_version CASCADE"
    )
    outbox.execute((Path(__file__).parent / "version_1.sql").read_text())
    outbox.insert("all", "1")
    outbox.insert("everybody", "2", "refused")
    with reading(redis_url, outbox, namespace) as service:
        wait_for(service, ALL, [1])
        wait_until(lambda: [kind for kind, _ in outbox.refused] == ["refused"], "one is set aside")
        outbox.execute("GRANT INSERT ON clarion_outbox TO PUBLIC")
        assert asyncio.run(applied(outbox)) == 1
        outbox.execute("SELECT clarion_publish('all', 'tick', '2')")
        wait_for(service, ALL, [1, 2])
    outbox.insert("all", "3")
    with reading(redis_url, outbox, namespace) as service:
        wait_for(service, ALL, [1, 2, 3])
    assert asyncio.run(applied(outbox)) == schema.VERSION
    (rights,) = outbox.rows(
        "SELECT relacl::text LIKE '%=a/%' FROM pg_class WHERE relname = 'clarion_outbox'"
    )
    assert rights == (True,)


async def test_a_migration_does_not_hold_the_application_up(outbox: Outbox) -> None:
    outbox.execute(
        "DROP TABLE clarion_outbox, clarion_outbox_refused, clarion_outbox_version CASCADE"
    )
    outbox.execute((Path(__file__).parent / "version_1.sql").read_text())
    with outbox.connect() as application:
        application.execute("SELECT clarion_publish('all', 'tick', '1')")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await applied(outbox)
    assert outbox.waiting == 1
    assert await applied(outbox) == 1


def test_the_trace_is_that_of_the_transaction_or_the_rows_own(outbox: Outbox) -> None:
    outbox.execute("SELECT clarion_publish('all', 'none')")
    with outbox.connect() as connection:
        connection.execute("SELECT set_config('clarion.traceparent', 'a-trace', true)")
        connection.execute("SELECT clarion_publish('all', 'function')")
        connection.execute("INSERT INTO clarion_outbox (audience, type) VALUES ('all', 'insert')")
        connection.execute(
            "INSERT INTO clarion_outbox (audience, type, traceparent) VALUES ('all', 'own', 'b')"
        )
        connection.commit()
        connection.execute("SELECT clarion_publish('all', 'later')")
        connection.execute("SELECT set_config('clarion.traceparent', repeat('x', 5000), true)")
        connection.execute("SELECT clarion_publish('all', 'long')")
        connection.commit()
    found = outbox.rows("SELECT type, traceparent FROM clarion_outbox ORDER BY id")
    assert found == [
        ("none", None),
        ("function", "a-trace"),
        ("insert", "a-trace"),
        ("own", "b"),
        ("later", None),
        ("long", "x" * 100),
    ]


async def test_a_newer_outbox_is_read_and_left_alone(outbox: Outbox) -> None:
    outbox.execute("UPDATE clarion_outbox_version SET version = 99")
    outbox.execute("DROP FUNCTION clarion_publish")
    assert await applied(outbox) == 99
    assert outbox.rows("SELECT proname FROM pg_proc WHERE proname = 'clarion_publish'") == []
    async with connected(conninfo_of(outbox.url)):
        pass


async def test_a_trigger_comes_goes_and_is_left_alone(outbox: Outbox) -> None:
    triggers = "SELECT tgname FROM pg_trigger WHERE tgname = 'clarion_outbox_notify'"
    for notify, expected in ((None, 0), (True, 1), (True, 1), (None, 1), (False, 0), (None, 0)):
        await applied(outbox, notify=notify)
        assert len(outbox.rows(triggers)) == expected


def test_the_function_inserts_whatever_the_search_path_says(outbox: Outbox) -> None:
    outbox.execute("CREATE SCHEMA elsewhere")
    outbox.execute(
        "SET search_path = elsewhere; "
        "SELECT public.clarion_publish('user:alice', 'order.updated', jsonb_build_object('id', 42))"
    )
    outbox.execute(
        "SELECT clarion_publish('all', 'tick', key => 'k', exclude => 'c', history => false)"
    )
    columns = "audience, type, data::text, key, exclude, history"
    assert outbox.rows(f"SELECT {columns} FROM clarion_outbox ORDER BY id") == [
        ("user:alice", "order.updated", '{"id": 42}', None, None, True),
        ("all", "tick", "null", "k", "c", False),
    ]


def test_bad_json_fails_in_the_applications_own_transaction(outbox: Outbox) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        outbox.insert("all", "{")


async def test_a_database_without_an_outbox_is_told(shared_postgres: Postgres) -> None:
    with pytest.raises(
        fault.OutboxFault, match=r"no table clarion_outbox .* `clarion outbox init`"
    ):
        async with connected(conninfo_of(shared_postgres.url("template1"))):
            pass


async def test_missing_rights_are_told_by_name(shared_postgres: Postgres) -> None:
    outbox = shared_postgres.new_outbox()
    user = f"reader_{outbox.name}"
    outbox.execute(f"CREATE USER {user}")
    outbox.execute(f"GRANT SELECT ON clarion_outbox_version, clarion_outbox TO {user}")
    url = outbox.url.replace("postgres@", f"{user}@")
    with pytest.raises(fault.OutboxFault, match="DELETE on clarion_outbox, SELECT on clarion_ou"):
        async with connected(conninfo_of(url)):
            pass
    outbox.execute(f"GRANT DELETE ON clarion_outbox TO {user}")
    outbox.execute(f"GRANT SELECT, INSERT, DELETE ON clarion_outbox_refused TO {user}")
    async with connected(conninfo_of(url)) as database:
        assert await database.begin()
        await database.finish([], {})
