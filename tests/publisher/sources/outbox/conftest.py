"""One PostgreSQL for all tests of the outbox that do not end it, and a database for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Outbox, Postgres, postgresql


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    with postgresql() as server:
        yield server


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server for one test, to stop, pause and restart."""
    with postgresql() as server:
        yield server


@pytest.fixture
def outbox(shared_postgres: Postgres) -> Outbox:
    return shared_postgres.new_outbox()
