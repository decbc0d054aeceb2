"""A publisher reads an outbox: each committed row once, in order, whatever stands between."""

from __future__ import annotations

import contextlib

import pytest

from clarion_contract.events.audience import ALL, user_audience
from clarion_publisher.sources.outbox.database import Limits, connected, conninfo_of
from tests.pgbouncer import PgBouncer
from tests.postgres import Outbox, Postgres
from tests.publisher.sources.outbox.reading import data_of, reading, rows, wait_for
from tests.redis_topologies import wait_until


def test_a_committed_row_is_published_byte_for_byte_and_deleted(
    redis_url: str, outbox: Outbox, namespace: str, user: str
) -> None:
    with reading(redis_url, outbox, namespace) as service:
        outbox.insert(f"user:{user}", '{"b" :1.0,  "a": "ä"}', "order.updated")
        wait_until(lambda: bool(data_of(service, user_audience(user))), "it is published")
        (event,) = service.published(user_audience(user))
        assert (event.type, event.data.decode()) == ("order.updated", '{"b" :1.0,  "a": "ä"}')
        wait_until(lambda: outbox.waiting == 0, "the row is deleted")
        assert service.metric(rows("published")) == 1
        assert service.metric("clarion_publisher_outbox_connected") == 1


def test_the_trace_of_a_row_reaches_the_gateways(
    redis_url: str, outbox: Outbox, namespace: str, user: str
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with outbox.connect() as connection:
        connection.execute("SELECT set_config('clarion.traceparent', %s, true)", [trace])
        connection.execute("SELECT clarion_publish(%s, 'tick', '1')", [f"user:{user}"])
        connection.execute("SELECT clarion_publish('everybody', 'refused')")
    with reading(redis_url, outbox, namespace) as service:
        wait_until(lambda: bool(data_of(service, user_audience(user))), "it is published")
        (event,) = service.published(user_audience(user))
        assert event.trace == trace
        wait_until(lambda: bool(outbox.refused), "the other one is set aside")
    assert outbox.rows("SELECT traceparent FROM clarion_outbox_refused") == [(trace,)]


def test_a_row_that_is_rolled_back_is_never_published(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    with reading(redis_url, outbox, namespace) as service:
        with outbox.connect() as connection:
            connection.execute("SELECT clarion_publish('all', 'tick', '1')")
            connection.rollback()
        outbox.insert("all", "2")
        wait_for(service, ALL, [2])


def test_a_transaction_that_commits_late_is_not_skipped(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    """Its row has the lower id, and others have been published and deleted meanwhile."""
    with reading(redis_url, outbox, namespace) as service, outbox.connect() as late:
        late.execute("SELECT clarion_publish('all', 'tick', '1')")
        for number in (2, 3):
            outbox.insert("all", str(number))
        wait_for(service, ALL, [2, 3])
        wait_until(lambda: outbox.waiting == 0, "they are deleted")
        late.commit()
        wait_for(service, ALL, [2, 3, 1])


def test_order_is_that_of_the_lock_that_transactions_share(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    """A transaction that waits for another one's row inserts after it."""
    outbox.execute("CREATE TABLE orders (id int, state int)")
    outbox.execute("INSERT INTO orders VALUES (1, 0)")
    change = "UPDATE orders SET state = %s WHERE id = 1"
    with outbox.connect() as first, outbox.connect() as second:
        second.execute("SELECT pg_current_xact_id()")  # began first
        first.execute(change, [1])
        first.execute("SELECT clarion_publish('all', 'tick', '1')")
        first.commit()
        second.execute(change, [2])
        second.execute("SELECT clarion_publish('all', 'tick', '2')")
        second.commit()
    with reading(redis_url, outbox, namespace) as service:
        wait_for(service, ALL, [1, 2])


def test_a_row_without_history_is_published_and_not_kept(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    outbox.execute("SELECT clarion_publish('all', 'tick', '1', history => false)")
    outbox.insert("all", "2")
    with reading(redis_url, outbox, namespace) as service:
        wait_for(service, ALL, [2])
        wait_until(lambda: service.metric(rows("published")) == 2, "both are published")


def test_thousands_of_rows_come_in_order_in_batches(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    outbox.execute(
        "INSERT INTO clarion_outbox (audience, type, data) "
        "SELECT 'all', 'tick', n::text::json FROM generate_series(1, 3000) AS n"
    )
    with reading(redis_url, outbox, namespace, outbox_batch_rows=500) as service:
        wait_for(service, ALL, range(1, 3001))
        wait_until(
            lambda: service.metric("clarion_publisher_outbox_batch_rows_count") == 6, "six batches"
        )


POISONED = [
    ("everybody", "1", "bad.audience", None, "expected an audience: all,"),
    ("user:" + "x" * 300, "1", "bad.user", None, "at /audience/user"),
    ("all", "1", "bad type", None, "at /type"),
    ("all", '"\\ud83d"', "bad.data", None, "a lone surrogate"),
    ("all", '"' + "x" * (10 << 20) + '"', "large", None, "got at least "),
    ("all", "1", "bad.key", "", "at /key"),
    ("all", "1", "key.again", "once", "the key was used for another event"),
]


def test_rows_that_can_never_be_published_stand_aside_and_delay_nobody(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    outbox.insert("all", "0", key="once")
    for audience, data, type_, key, _ in POISONED:
        outbox.insert(audience, data, type_, key)
    outbox.insert("all", "9")
    with reading(redis_url, outbox, namespace) as service:
        wait_for(service, ALL, [0, 9])
        wait_until(lambda: outbox.waiting == 0, "no row waits")
        refused = outbox.refused
        assert [type_ for type_, _ in refused] == [each[2] for each in POISONED]
        for (_, reason), (*_, said) in zip(refused, POISONED, strict=True):
            assert said in reason
        counted = {
            reason: service.metric(f'clarion_publisher_outbox_refused_total{{reason="{reason}"}}')
            for reason in ("invalid_event", "data_too_large", "key_reused")
        }
        assert counted == {"invalid_event": 5, "data_too_large": 1, "key_reused": 1}
        assert service.internal("/readyz").json() == {"ready": True, "reasons": []}


async def test_rows_that_are_too_large_are_taken_a_few_at_a_time(outbox: Outbox) -> None:
    """A statement over all of them may not end in time, and then never does."""
    outbox.execute(
        "INSERT INTO clarion_outbox (audience, type, data) "
        "SELECT 'all', 'tick', to_json(repeat('x', 200000)) FROM generate_series(1, 30)"
    )
    outbox.execute("SELECT clarion_publish('all', 'tick', '1')")
    (stored,) = outbox.rows("SELECT max(pg_column_size(data)) FROM clarion_outbox")[0]
    limits = Limits(rows=500, data_max_bytes=1_000, bytes=5 * stored)
    taken: list[int] = []
    async with connected(conninfo_of(outbox.url)) as database:
        while await database.begin() and (rows := await database.read(limits, [])):
            taken.append(len(rows))
            await database.finish([row.id for row in rows], {})
        await database.abandon()
    assert sum(taken) == 31
    assert max(taken) <= 6


def test_a_row_that_was_set_aside_can_be_sent_again(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    """With the statement of docs/outbox.md."""
    outbox.insert("everybody", "1")
    with reading(redis_url, outbox, namespace) as service:
        wait_until(lambda: len(outbox.refused) == 1, "it is set aside")
        outbox.execute("UPDATE clarion_outbox_refused SET audience = 'all'")
        outbox.execute(
            "WITH again AS (DELETE FROM clarion_outbox_refused RETURNING *) "
            "INSERT INTO clarion_outbox (audience, type, data, key, history, exclude) "
            "SELECT audience, type, data, key, history, exclude FROM again"
        )
        wait_for(service, ALL, [1])


def test_rows_that_were_set_aside_long_ago_are_deleted(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    for age in ("8 days", "6 days"):
        outbox.execute(
            "INSERT INTO clarion_outbox_refused "
            "SELECT nextval(pg_get_serial_sequence('clarion_outbox', 'id')), 'all', %s, 'null', "
            "NULL, NULL, true, now(), now() - %s::interval, 'because'",
            age,
            age,
        )
    with reading(redis_url, outbox, namespace):
        wait_until(lambda: outbox.refused == [("6 days", "because")], "the older one is deleted")


def test_several_publishers_share_the_rows_and_double_none(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    """Rows come in while publishers come and go."""
    connected = "clarion_publisher_outbox_connected"
    with contextlib.ExitStack() as all_of_them:
        services = []
        for number in range(3):
            options = {"outbox_batch_rows": 10, "outbox_poll_seconds": 0.01}
            pod = reading(redis_url, outbox, namespace, pod=f"publisher-{number}", **options)
            services.append(all_of_them.enter_context(pod))
            # One after the other: FastAPI is not built by several threads at a time.
            wait_until(lambda: services[-1].metric(connected) == 1, "it is connected")
        for first in range(1, 1_000, 100):
            outbox.execute(
                "INSERT INTO clarion_outbox (audience, type, data) "
                "SELECT 'all', 'tick', n::text::json FROM generate_series(%s::int, %s) AS n",
                first,
                first + 99,
            )
            if first == 501:
                services[0].stop()
        wait_for(services[1], ALL, range(1, 1001))
        assert all(service.metric(rows("duplicate")) == 0 for service in services[1:])


def test_notify_wakes_a_publisher_that_would_sleep_for_a_minute(
    redis_url: str, server: Postgres | PgBouncer, namespace: str
) -> None:
    if isinstance(server, PgBouncer):
        pytest.skip("a publisher behind a pooler polls")
    outbox = server.new_outbox(notify=True)
    with reading(redis_url, outbox, namespace, outbox_poll_seconds=60) as service:
        wait_until(
            lambda: service.metric("clarion_publisher_outbox_connected") == 1, "it is connected"
        )
        for number in range(5):
            outbox.insert("all", str(number))
            wait_for(service, ALL, range(number + 1))


def test_lag_and_waiting_rows_are_measured(
    redis_url: str, outbox: Outbox, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another session has the lock, as a publisher in the middle of a batch."""
    monkeypatch.setattr("clarion_publisher.sources.outbox.source._LOOK_SECONDS", 0.0)
    lock = "SELECT pg_advisory_xact_lock(1129070930, 'clarion_outbox'::regclass::oid::integer)"
    with outbox.connect() as other:
        other.execute(lock)
        outbox.execute(
            "INSERT INTO clarion_outbox (audience, type, created_at) "
            "VALUES ('all', 'tick', now() - interval '100 s'), ('all', 'tick', now())"
        )
        with reading(redis_url, outbox, namespace) as service:
            waiting = "clarion_publisher_outbox_waiting_rows"
            wait_until(lambda: service.metric(waiting) == 2, "two rows wait")
            assert service.metric("clarion_publisher_outbox_lag_seconds") >= 100
            other.close()
            wait_until(lambda: service.metric(waiting) == 0, "none waits")
            assert service.metric("clarion_publisher_outbox_lag_seconds") == 0
