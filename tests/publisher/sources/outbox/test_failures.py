"""What fails around an outbox costs no row, and doubles none; operators are told."""

from __future__ import annotations

import signal
from typing import Any

import psycopg
import pytest
import redis

from clarion_contract.events.audience import ALL
from clarion_publisher.sources.outbox import database
from tests.e2e.ports import free_port
from tests.postgres import Outbox, Postgres, postgresql
from tests.publisher.service import Service
from tests.publisher.sources.outbox.reading import reading, rows, wait_for
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

APPLICATION = "clarion-publisher"
ERRORS = "clarion_publisher_outbox_errors_total"
CONNECTED = "clarion_publisher_outbox_connected"


def health(service: Service) -> dict[str, Any]:
    return dict(service.internal("/readyz").json())


def told(service: Service, text: str) -> bool:
    """Whether the pod is ready, with a warning that has this text."""
    answer = health(service)
    return answer["ready"] and any(text in each for each in answer.get("warnings", ()))


def test_rows_wait_for_redis_in_their_order(
    lasting_valkey: Valkey, outbox: Outbox, namespace: str
) -> None:
    with reading(lasting_valkey.url, outbox, namespace) as service:
        outbox.insert("all", "0")
        wait_for(service, ALL, [0])
        lasting_valkey.kill()
        for number in range(1, 20):
            outbox.insert("all", str(number))
        wait_until(lambda: service.metric(rows("bus_unavailable")) > 0, "Redis is missed")
        assert outbox.waiting == 19
        lasting_valkey.start()
        wait_for(service, ALL, range(20))
        wait_until(lambda: outbox.waiting == 0, "no row waits")
        assert outbox.refused == []


def test_a_redis_that_refuses_for_good_sets_no_row_aside(
    lasting_valkey: Valkey, outbox: Outbox, namespace: str
) -> None:
    """HTTP callers are told not to retry (`bus_refused`); a row waits until an operator has acted."""
    with reading(lasting_valkey.url, outbox, namespace) as service:
        outbox.insert("all", "0")
        wait_for(service, ALL, [0])
        with redis.Redis(port=lasting_valkey.port) as client:
            client.config_set("maxmemory", "1")
            outbox.insert("all", "1")
            wait_until(lambda: service.metric(rows("bus_refused")) > 0, "Redis refuses", seconds=60)
            assert (outbox.waiting, outbox.refused) == (1, [])
            client.config_set("maxmemory", "0")
        wait_for(service, ALL, [0, 1])


def test_postgres_is_restarted(redis_url: str, postgres: Postgres, namespace: str) -> None:
    outbox = postgres.new_outbox()
    with reading(redis_url, outbox, namespace) as service:
        outbox.insert("all", "0")
        wait_for(service, ALL, [0])
        for number, end in enumerate((postgres.stop, postgres.kill), start=1):
            end()
            wait_until(lambda: told(service, "outbox: "), "ready, with a warning")
            assert service.metric(CONNECTED) == 0
            postgres.start()
            outbox.insert("all", str(number))
            wait_for(service, ALL, range(number + 1))
            wait_until(lambda: health(service) == {"ready": True, "reasons": []}, "no warning")


def test_connections_are_ended_again_and_again(
    redis_url: str, outbox: Outbox, namespace: str
) -> None:
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
    with reading(redis_url, outbox, namespace, outbox_batch_rows=20) as service:
        for first in range(0, 500, 50):
            outbox.execute(
                "SELECT clarion_publish('all', 'tick', to_jsonb(n)) "
                "FROM generate_series(%s::int, %s) AS n",
                first, first + 49,
            )  # fmt: skip
            outbox.server.execute(end, outbox.name)
        wait_for(service, ALL, range(500))
        assert service.metric(ERRORS) > 0


def test_a_server_process_that_hangs_is_left(
    redis_url: str, postgres: Postgres, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_ANSWER_SECONDS", 0.5)
    outbox = postgres.new_outbox()
    with reading(redis_url, outbox, namespace) as service:
        outbox.insert("all", "0")
        wait_for(service, ALL, [0])
        (before,) = pids(postgres)
        postgres.signal_backends(signal.SIGSTOP, APPLICATION)
        try:
            wait_until(lambda: service.metric(ERRORS) > 0, "the publisher has left it")
            wait_until(lambda: set(pids(postgres)) - {before} != set(), "it connects again")
        finally:
            postgres.signal_backends(signal.SIGCONT, APPLICATION)
        outbox.insert("all", "1")
        wait_for(service, ALL, [0, 1])


def pids(postgres: Postgres) -> list[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    return [pid for (pid,) in postgres.rows(query, APPLICATION)]


def test_a_primary_that_was_replaced_is_left_for_the_new_one(
    redis_url: str, postgres: Postgres, namespace: str
) -> None:
    """One URL has both hosts. The former primary answers on, and only reads."""
    with postgresql() as other:
        former, new = postgres.new_outbox(), other.new_outbox()
        other.execute(f'ALTER DATABASE "{new.name}" RENAME TO "{former.name}"')
        new.name = former.name
        url = f"postgresql://postgres@127.0.0.1:{postgres.port},127.0.0.1:{other.port}/{new.name}"
        with reading(redis_url, former, namespace, outbox_url=url) as service:
            former.insert("all", "0")
            wait_for(service, ALL, [0])
            postgres.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            postgres.execute("SELECT pg_reload_conf()")
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = %s", APPLICATION,
            )  # fmt: skip
            new.insert("all", "1")
            wait_for(service, ALL, [0, 1])


def test_a_crash_between_publishing_and_deleting_doubles_nothing(
    redis_url: str, outbox: Outbox, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = database.Database.finish
    crashes = iter(range(2))

    async def crash(self: database.Database, *arguments: Any) -> None:
        if next(crashes, None) is not None:
            raise psycopg.OperationalError("the connection is lost")
        await finish(self, *arguments)

    monkeypatch.setattr(database.Database, "finish", crash)
    with outbox.connect() as connection:
        for number in range(3):
            connection.execute("SELECT clarion_publish('all', 'tick', %s)", [str(number)])
    with reading(redis_url, outbox, namespace) as service:
        wait_until(lambda: outbox.waiting == 0, "no row waits")
        wait_for(service, ALL, range(3))
        wait_until(lambda: service.metric(rows("duplicate")) == 6, "they were handed in again")


def test_a_roll_out_without_an_outbox_stops_until_there_is_one(
    redis_url: str, shared_postgres: Postgres, namespace: str
) -> None:
    outbox = shared_postgres.new_outbox()
    outbox.execute("DROP TABLE clarion_outbox_version")
    with reading(redis_url, outbox, namespace) as service:
        wait_until(lambda: not health(service)["ready"], "not ready")
        wait_until(
            lambda: "no table clarion_outbox" in str(health(service)["reasons"]), "it says why"
        )
        outbox.execute(
            "CREATE TABLE clarion_outbox_version AS SELECT 1 AS version, 'x' AS identity"
        )
        wait_until(lambda: health(service)["ready"], "ready")
        outbox.execute("ALTER TABLE clarion_outbox RENAME TO elsewhere")
        wait_until(lambda: told(service, "clarion_outbox"), "ready for HTTP, with a warning")


@pytest.mark.parametrize(
    ("change", "ready", "said"),
    [
        (("/test", "/nowhere/test"), None, "expected postgresql://"),
        (("/test_", "/nowhere_"), False, "does not exist"),
        (("postgres@", "somebody@"), False, "does not exist"),
        (("127.0.0.1:{port}", "127.0.0.1:{free}"), True, "Connection refused"),
    ],
)
def test_a_wrong_url_is_told_without_the_password(
    redis_url: str, shared_postgres: Postgres, namespace: str, capfd: pytest.CaptureFixture[str],
    change: tuple[str, str], ready: bool | None, said: str,
) -> None:  # fmt: skip
    outbox = shared_postgres.new_outbox()
    ports = {"port": outbox.server.port, "free": free_port()}
    old, new = (each.format(**ports) for each in change)
    url = outbox.url.replace(old, new).replace("@", ":very%20secret@")
    if ready is None:
        with (
            pytest.raises(ValueError, match=said) as caught,
            reading(redis_url, outbox, namespace, outbox_url=url),
        ):
            pass
        assert "secret" not in str(caught.value.errors(include_input=False))  # type: ignore[attr-defined]
        return
    with reading(redis_url, outbox, namespace, outbox_url=url) as service:
        wait_until(lambda: said in str(health(service)), "it says why")
        assert health(service)["ready"] is ready
        shown = service.internal("/settings").text + service.internal("/readyz").text
    output = capfd.readouterr()
    assert said in output.out + output.err
    assert "very" not in shown + output.out + output.err
