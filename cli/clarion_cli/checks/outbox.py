"""The outbox's database: reachable, with the tables and rights that publishers need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from clarion_cli.checks.finding import Finding, doubtful, works, wrong
from clarion_cli.failure import ExitCode
from clarion_contract.service.postgres_url import shown_postgres_url

_URL: Final = "PUBLISHER_OUTBOX_URL"


async def check_outbox(address: str) -> AsyncIterator[Finding]:
    """Try the outbox as a publisher would.

    Args:
        address: the URL, with its login.
    """
    try:
        import psycopg  # noqa: PLC0415 - an extra

        from clarion_publisher.sources.outbox import database, fault, schema  # noqa: PLC0415
    except ImportError as error:
        message = f"not tried: Clarion's extra `postgres` is missing here: {error}"
        yield doubtful(_URL, message, "publisher")
        return
    shown = shown_postgres_url(address)
    try:
        async with database.connected(database.conninfo_of(address)) as outbox:
            backlog = await outbox.backlog()
            listens, version = outbox.listens, outbox.version
    except ValueError as error:
        yield wrong(_URL, str(error), "publisher")
        return
    except (psycopg.Error, fault.OutboxFault, OSError, TimeoutError) as error:
        code = ExitCode.REFUSED if fault.lasts(error) else ExitCode.UNREACHABLE
        yield wrong(_URL, f"{shown}: {fault.reason(error)}", "publisher", code=code)
        return
    if version < schema.VERSION:
        message = (
            f"the outbox is of version {version}; `clarion outbox init` brings it to "
            f"{schema.VERSION}"
        )
        yield doubtful(_URL, message, "publisher")
    if not listens:
        message = "a pooler is between, so publishers look for rows and hear no NOTIFY"
        yield doubtful(_URL, message, "publisher")
    if backlog.refused:
        message = f"clarion_outbox_refused holds {backlog.refused} rows that were set aside"
        yield doubtful(_URL, message, "publisher")
    yield works(_URL, f"{shown} has the outbox, and every right on it; {backlog.waiting} rows wait")
