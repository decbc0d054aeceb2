"""The servers for tests of the outbox that do not end them, and a database for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clarion_cli.postgres import make_cluster, new_folder
from tests.pgbouncer import NO_POOLER, PgBouncer, pgbouncer, program
from tests.postgres import Outbox, Postgres, postgresql, system_programs


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def system_postgres() -> Iterator[Postgres]:
    """The operating system's own PostgreSQL."""
    programs = system_programs()
    if programs is None:
        pytest.skip("no PostgreSQL 14 or newer; on Debian and Ubuntu: apt-get install postgresql")
    with postgresql(make_cluster(new_folder(), programs)) as server:
        yield server


@pytest.fixture(scope="session")
def pooler(shared_postgres: Postgres) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode."""
    if program() is None:
        pytest.skip(NO_POOLER)
    with pgbouncer(shared_postgres) as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server for one test, to stop, pause and restart."""
    with postgresql() as server:
        yield server


@pytest.fixture(params=["shared_postgres", "system_postgres", "pooler"])
def server(request: pytest.FixtureRequest) -> Postgres | PgBouncer:
    """The ways to a database."""
    found: Postgres | PgBouncer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def outbox(server: Postgres | PgBouncer) -> Outbox:
    return server.new_outbox()
