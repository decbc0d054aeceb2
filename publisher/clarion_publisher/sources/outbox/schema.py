"""The outbox's tables: the migration that makes them, and whether a database has them."""

from __future__ import annotations

from importlib import resources
from typing import Final

from psycopg import AsyncConnection

from clarion_publisher.sources.outbox.fault import OutboxFault

VERSION: Final = 2
"""The version that `schema.sql` makes. Publishers work with newer ones, too."""

OLDEST: Final = 1
"""The oldest version that publishers work with, so that they may be updated before it is."""

TRACED: Final = 2
"""The first version whose rows have a trace."""

OLDEST_SERVER: Final = 140_000
"""PostgreSQL 14: the first one with SQL functions that are bound to their tables."""

_INIT: Final = "`clarion outbox init` makes it"
_RIGHTS: Final = (
    ("clarion_outbox", "SELECT"),
    ("clarion_outbox", "DELETE"),
    ("clarion_outbox_refused", "SELECT"),
    ("clarion_outbox_refused", "INSERT"),
    ("clarion_outbox_refused", "DELETE"),
)


def migration(*, notify: bool | None = None) -> str:
    """The SQL that makes the outbox, or brings an older one up to date. It can run again.

    Args:
        notify: whether a trigger wakes publishers; None: leave a trigger as it is.
    """
    names = ["schema.sql"] if notify is None else ["schema.sql", _TRIGGER[notify]]
    folder = resources.files(__package__)
    return "".join((folder / name).read_text("utf-8") for name in names)


_TRIGGER: Final = {True: "notify.sql", False: "quiet.sql"}


async def apply(
    connection: AsyncConnection[tuple[object, ...]],
    *,
    notify: bool | None = None,
    again: bool = True,
) -> int | None:
    """Make the outbox or bring it up to date, in the connection's transaction.

    Args:
        notify: see `migration`.
        again: also where it is up to date. If not, a user that may make no tables will do there.

    Returns:
        The version that there was before; None: there was none. A newer one stays as it is.

    Raises:
        OutboxFault: the server is too old.
    """
    _check_server(connection)
    was = await version_of(connection)
    if was is None or was < VERSION or (again and was == VERSION):
        await connection.execute(migration(notify=notify).encode())
    return was


async def version_of(connection: AsyncConnection[tuple[object, ...]]) -> int | None:
    """The version of the outbox that a database has; None: it has none."""
    row = await _row(connection, "SELECT to_regclass('clarion_outbox_version') IS NOT NULL")
    if not row[0]:
        return None
    (version,) = await _row(connection, "SELECT max(version) FROM clarion_outbox_version")
    return version if isinstance(version, int) else None


async def find(connection: AsyncConnection[tuple[object, ...]]) -> tuple[str, int]:
    """The identity and version of the outbox in a database, once it and the rights are good.

    Raises:
        OutboxFault: the outbox is missing or too old, or the user may not read it.
    """
    _check_server(connection)
    version = await version_of(connection)
    if version is None:
        raise OutboxFault(
            "there is no table clarion_outbox in this database, or not in the user's search_path; "
            + _INIT
        )
    if version < OLDEST:
        raise OutboxFault(
            f"the outbox is of version {version}, and this publisher needs {OLDEST} or newer; "
            "`clarion outbox init` brings it up to date"
        )
    await _check_rights(connection)
    (identity,) = await _row(connection, "SELECT identity::text FROM clarion_outbox_version")
    return str(identity), version


def _check_server(connection: AsyncConnection[tuple[object, ...]]) -> None:
    server = connection.info.server_version
    if server < OLDEST_SERVER:
        raise OutboxFault(f"expected PostgreSQL 14 or newer, got {server // 10_000}")


async def _check_rights(connection: AsyncConnection[tuple[object, ...]]) -> None:
    asked = ", ".join(f"has_table_privilege('{table}', '{right}')" for table, right in _RIGHTS)
    answers = await _row(connection, f"SELECT {asked}")
    lacking = [
        f"{right} on {table}"
        for (table, right), has in zip(_RIGHTS, answers, strict=True)
        if not has
    ]
    if lacking:
        raise OutboxFault(f"the user needs {', '.join(lacking)} (GRANT)")


async def _row(connection: AsyncConnection[tuple[object, ...]], query: str) -> tuple[object, ...]:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None  # noqa: S101 - every query above has one row
    return row
