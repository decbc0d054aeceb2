"""The auction's bids: in PostgreSQL if ``AUCTION_DATABASE_URL`` names one, else in a SQLite file.

One statement decides about a bid, so two gateways never take two highest ones.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

LOTS: Final = {1: "A lamp", 2: "A bicycle", 3: "A map of 1890"}

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS lots (lot integer PRIMARY KEY, cents integer, bidder text)"
)
# Any number that no other program takes a lock on in this database.
_SCHEMA_LOCK: Final = 73_190_522
_LOTS: Final = "INSERT INTO lots (lot, cents) VALUES (?, 0) ON CONFLICT DO NOTHING"
_BID: Final = "UPDATE lots SET cents = ?, bidder = ? WHERE lot = ? AND cents < ? RETURNING lot"
_READ: Final = "SELECT cents, bidder FROM lots WHERE lot = ?"


class Store(Protocol):
    """Runs a statement with ``?`` for its values, and commits."""

    async def create(self) -> None:
        """Make the tables, unless they are there."""
        ...

    async def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of the result."""
        ...


class Postgres:
    """A store in PostgreSQL: a pool is not needed, since each statement is short."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def create(self) -> None:
        """See `Store`. Two gateways that start at the same moment wait for each other."""
        import psycopg  # noqa: PLC0415 - only needed here

        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
            await connection.execute(_SCHEMA)

    async def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """See `Store`."""
        import psycopg  # noqa: PLC0415 - only needed here

        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            cursor = await connection.execute(statement.replace("?", "%s").encode(), values)
            return await cursor.fetchall() if cursor.description else []


class Sqlite:
    """A store in a file. A statement takes microseconds, so it runs in the event loop."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)

    async def create(self) -> None:
        """See `Store`."""
        self._connection.execute(_SCHEMA)

    async def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """See `Store`."""
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Store]:
    """The store, with its tables and lots."""
    url = os.environ.get("AUCTION_DATABASE_URL")
    with contextlib.ExitStack() as stack:
        store: Store
        if url:
            store = Postgres(url)
        else:
            store = stack.enter_context(
                contextlib.closing(Sqlite(os.environ.get("AUCTION_FILE", "auction.sqlite")))
            )
        await store.create()
        for lot in LOTS:
            await store.run(_LOTS, lot)
        yield store


async def bid(store: Store, lot: int, cents: int, bidder: str) -> bool:
    """Whether a bid is the highest one now."""
    return bool(await store.run(_BID, cents, bidder, lot, cents))


async def highest(store: Store, lot: int) -> tuple[int, str | None]:
    """The highest bid on a lot, and its bidder; 0 and None: there is none."""
    ((cents, bidder),) = await store.run(_READ, lot)
    return cents, bidder
