"""One connection to the outbox's database: reading a batch, ending it, waiting for new rows.

Every statement works behind PgBouncer in transaction mode: nothing is prepared, settings are those
of one transaction, and the lock of the reader ends with its transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Buffer, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format

from clarion_publisher.sources.outbox.rows import Row
from clarion_publisher.sources.outbox.schema import TRACED, find

CHANNEL: Final = "clarion_outbox"
COUNTED_MAX: Final = 100_000
"""Rows are counted up to this number: counting a million would take a second."""

# Twice the longest time that ingestion waits for a Redis that restarts.
_IDLE_IN_TRANSACTION: Final = "30s"
_STATEMENT: Final = "20s"
# A server that hangs keeps its sockets open, so that neither libpq nor the kernel notices.
_ANSWER_SECONDS: Final = 25.0
_CONNECT_SECONDS: Final = 5
_POSTGRES_EPOCH_MICROSECONDS: Final = 946_684_800_000_000

# Of libpq; those in the URL win. A hot standby and a former primary refuse to delete rows.
_DEFAULTS: Final = {
    "application_name": "clarion-publisher",
    "connect_timeout": str(_CONNECT_SECONDS),
    "target_session_attrs": "read-write",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}

# The lock's numbers: "CLAR" in ASCII, and the table. The commit need not wait for the disk: if a
# crash of the server loses it, the rows are handed in again, and Redis knows their keys.
_BEGIN: Final = f"""
BEGIN;
SET LOCAL synchronous_commit = off;
SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_IN_TRANSACTION}';
SET LOCAL statement_timeout = '{_STATEMENT}';
SELECT pg_try_advisory_xact_lock(1129070930, 'clarion_outbox'::regclass::oid::integer)
""".encode()

# Data are first measured as they are stored, which reads none of them. This bounds what has to be
# decompressed or set aside, so that a batch of huge rows ends in time. Data that are too large as
# they are stored are larger as text. Data that are not compressed have a header of 4 bytes.
_READ: Final = b"""
SELECT id, created_at, audience, type, key, exclude, history,
    CASE WHEN size <= %(data_max)s THEN data END, size, traceparent
FROM (
    SELECT *, sum(read) OVER (ORDER BY id) - read AS before FROM (
        SELECT *, CASE WHEN size <= %(data_max)s THEN size ELSE 0 END AS read FROM (
            SELECT *, CASE WHEN stored > %(data_max)s THEN stored
                ELSE octet_length(data::text) END AS size
            FROM (
                SELECT *, sum(stored) OVER (ORDER BY id) - stored AS stored_before FROM (
                    SELECT *, pg_column_size(data) - 4 AS stored FROM clarion_outbox
                    WHERE audience <> ALL (%(held)s) ORDER BY id LIMIT %(rows)s
                ) AS waiting
            ) AS bounded
            WHERE stored_before < %(bytes)s OFFSET 0
        ) AS measured
    ) AS sized
) AS summed
WHERE before < %(bytes)s ORDER BY id
"""

_SET_ASIDE: Final = b"""
WITH gone AS (DELETE FROM clarion_outbox WHERE id = ANY (%(ids)s) RETURNING *)
INSERT INTO clarion_outbox_refused
    (id, audience, type, data, key, exclude, history, created_at, traceparent, reason)
SELECT gone.id, audience, type, data, key, exclude, history, created_at, traceparent, given.reason
FROM gone JOIN unnest(%(ids)s::bigint[], %(reasons)s::text[]) AS given (id, reason)
    ON given.id = gone.id
"""

_WITHOUT_TRACES: Final = (
    (_READ, (b"size, traceparent", b"size, NULL::text")),
    (_SET_ASIDE, (b"created_at, traceparent, ", b"created_at, ")),
)

_BACKLOG: Final = f"""
SELECT
    (SELECT count(*) FROM (SELECT FROM clarion_outbox LIMIT {COUNTED_MAX}) AS waiting),
    (SELECT extract(epoch FROM clock_timestamp() - created_at)::float8
     FROM clarion_outbox ORDER BY id LIMIT 1),
    (SELECT count(*) FROM (SELECT FROM clarion_outbox_refused LIMIT {COUNTED_MAX}) AS refused)
""".encode()  # noqa: S608 - constants

_PRUNE: Final = b"""
DELETE FROM clarion_outbox_refused
WHERE refused_at < now() - make_interval(secs => %s)
"""

AnyAnswer = TypeVar("AnyAnswer")


class _Bytes(Loader):
    """Texts as bytes, see `rows`."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _Microseconds(Loader):
    """A time as microseconds since 1970, without a time zone."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int.from_bytes(data, signed=True) + _POSTGRES_EPOCH_MICROSECONDS


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one read.

    Attributes:
        data_max_bytes: of one row's data; larger ones are not read, only their size.
        bytes: of all rows' data, as text and as they are stored, but at least one row is read.
    """

    rows: int
    data_max_bytes: int
    bytes: int = 4 << 20


class Backlog(NamedTuple):
    """See `OutboxMetrics.backlog`."""

    waiting: int
    lag_seconds: float
    refused: int


class Database:
    """A connection; made by `connected`.

    Attributes:
        identity: of the outbox, see `clarion_publisher.sources.outbox.schema.find`.
        version: of the outbox's tables.
        listens: whether NOTIFY wakes this connection. Not behind a pooler.
    """

    def __init__(
        self, connection: AsyncConnection[tuple[Any, ...]], identity: str, version: int
    ) -> None:
        self.identity = identity
        self.version = version
        self._read, self._set_aside = (
            statement if version >= TRACED else statement.replace(*without)
            for statement, without in _WITHOUT_TRACES
        )
        self.listens = False
        self._connection = connection
        self._woken = asyncio.Event()

    async def begin(self) -> bool:
        """Begin a batch. Return whether this connection is the one reader until the batch ends."""
        cursor = await self._answer(self._connection.execute(_BEGIN))
        while cursor.nextset():
            pass
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def read(self, limits: Limits, held: Sequence[str]) -> list[Row]:
        """The oldest committed rows, in the order of their ids.

        It is a statement of its own, after the one that took the lock: its snapshot has all that
        the reader before has deleted.

        Args:
            held: audiences to leave out.
        """
        parameters = {
            "data_max": limits.data_max_bytes,
            "bytes": limits.bytes,
            "rows": limits.rows,
            "held": list(held),
        }
        cursor = self._connection.cursor(binary=True)
        await self._answer(cursor.execute(self._read, parameters))
        return [Row(*row) for row in await cursor.fetchall()]

    async def finish(self, done: Sequence[int], refused: Mapping[int, str]) -> None:
        """Delete rows that are published, set others aside, and end the batch.

        Args:
            refused: reasons by the rows' ids.
        """
        if refused:
            parameters = {"ids": list(refused), "reasons": list(refused.values())}
            await self._answer(self._connection.execute(self._set_aside, parameters))
        end = b"COMMIT"
        if done:  # in one round trip
            ids = ",".join(map(str, done)).encode()
            end = b"DELETE FROM clarion_outbox WHERE id = ANY ('{%b}'::bigint[]); COMMIT" % ids
        await self._answer(self._connection.execute(end))

    async def abandon(self) -> None:
        """End a batch without a change."""
        await self._answer(self._connection.execute(b"ROLLBACK"))

    async def backlog(self) -> Backlog:
        """The rows that wait, and those that were set aside."""
        cursor = await self._answer(self._connection.execute(_BACKLOG))
        waiting, lag, refused = await cursor.fetchone() or (0, None, 0)
        return Backlog(waiting, max(0.0, lag or 0.0), refused)

    async def prune(self, keep_seconds: float) -> int:
        """Delete the rows that were set aside long ago; return how many."""
        cursor = await self._answer(self._connection.execute(_PRUNE, [keep_seconds]))
        return cursor.rowcount

    async def listen(self) -> None:
        """Let NOTIFY wake this connection, unless a pooler is between.

        A pooler gives this client a backend number of its own, and would leave the LISTEN to
        whichever client gets the server's connection next.
        """
        cursor = await self._answer(self._connection.execute(b"SELECT pg_backend_pid()"))
        row = await cursor.fetchone()
        if row is None or row[0] != self._connection.info.backend_pid:
            return
        self._connection.add_notify_handler(lambda _: self._woken.set())
        await self._answer(self._connection.execute(b"LISTEN " + CHANNEL.encode()))
        self.listens = True

    async def wait(self, seconds: float, stopping: asyncio.Event) -> None:
        """Return when rows may be there, after this time, or when stopping.

        Outside statements nothing reads the socket, so its first byte is a notification, or the
        end of the connection. The next statement takes care of either.
        """
        loop = asyncio.get_running_loop()
        descriptor = self._connection.fileno()
        loop.add_reader(descriptor, self._woken.set)
        waits = [asyncio.ensure_future(each.wait()) for each in (self._woken, stopping)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            loop.remove_reader(descriptor)
            self._woken.clear()

    async def _answer(self, statement: Awaitable[AnyAnswer]) -> AnyAnswer:
        """The result of a statement. If the server hangs, end the connection."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_ANSWER_SECONDS, self._hang_up)
        try:
            return await statement
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        """Make the statement fail. Cancelling it would wait for the server once more."""
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as same,
        ):
            same.shutdown(socket.SHUT_RDWR)


def conninfo_of(url: str) -> str:
    """A URL with the options that this connection needs.

    Raises:
        ValueError: libpq refuses it. The text shows no part of it.
    """
    try:
        given = conninfo_to_dict(url)
        return make_conninfo(url, **{**_DEFAULTS, **given, "client_encoding": "UTF8"})
    except psycopg.Error:
        raise ValueError(
            "libpq does not understand the URL: an unknown option, or a special character that "
            "is not percent-encoded"
        ) from None


@contextlib.asynccontextmanager
async def connected(conninfo: str) -> AsyncIterator[Database]:
    """A connection to a database that has an outbox.

    Raises:
        OutboxFault: the outbox is missing or too old, or the user may not read it.
        psycopg.Error: the database does not answer or refuses the login.
    """
    connection = await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
    try:
        for name in ("text", "json"):
            connection.adapters.register_loader(name, _Bytes)
        connection.adapters.register_loader("timestamptz", _Microseconds)
        database = Database(connection, *await find(connection))
        await database.listen()
        yield database
    finally:
        with contextlib.suppress(psycopg.Error):
            await connection.close()
