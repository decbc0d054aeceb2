"""`clarion outbox`: makes the tables of a PostgreSQL outbox, or brings them up to date."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from rich.text import Text

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output, print_line
from clarion_cli.token import secret_of

VARIABLE: Final = "PUBLISHER_OUTBOX_URL"

app = typer.Typer(
    name="outbox",
    help="Events that an application writes into PostgreSQL, in its own transactions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def root() -> None:
    """Keeps `init` a command of its own, as long as it is the only one."""


EMBEDDED: Final = "embedded"
"""In place of the URL of a database: `clarion up` starts one."""


def embedded_by_default(arguments: list[str]) -> list[str]:
    """A command line in which ``--outbox`` has a value: Typer demands one of each such option.

    >>> embedded_by_default(["up", "--outbox", "--gateways", "3"])
    ['up', '--outbox', 'embedded', '--gateways', '3']
    """
    if arguments[:1] != ["up"] or "--outbox" not in arguments:
        return arguments
    behind = arguments.index("--outbox") + 1
    if behind < len(arguments) and not arguments[behind].startswith("-"):
        return arguments
    return [*arguments[:behind], EMBEDDED, *arguments[behind:]]


def find_url(url: str | None) -> str:
    """The URL of the outbox's database, with its login: the given one, or the environment's.

    Raises:
        Failure: there is none, it has another form, or its login stands twice.
    """
    from clarion_contract.service.postgres_url import with_postgres_login  # noqa: PLC0415

    login: tuple[str | None, str | None] = (None, None)
    if url is None:
        url = secret_of(VARIABLE)
        login = (secret_of("PUBLISHER_OUTBOX_USERNAME"), secret_of("PUBLISHER_OUTBOX_PASSWORD"))
    if url is None:
        raise Failure(f"expected the URL of a PostgreSQL database, or {VARIABLE}", ExitCode.USAGE)
    try:
        return with_postgres_login(url, *login)
    except ValueError as error:
        raise Failure(f"the URL of PostgreSQL: {error}", ExitCode.USAGE) from None


@app.command()
def init(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL",
            help="postgresql://user:password@host/database. Default: PUBLISHER_OUTBOX_URL, which "
            "keeps the password out of the list of processes.",
            show_default=False,
        ),
    ] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the SQL, for a migration tool of your own.")
    ] = False,
    notify: Annotated[
        bool | None,
        typer.Option(
            "--notify/--no-notify",
            help="Whether a trigger wakes publishers at once. Default: leave it as it is; a new "
            "outbox has none.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = None,
) -> None:
    """Make the tables of the outbox, or bring them up to date. Repeating it changes nothing.

    Example: clarion outbox init postgresql://shop@db/shop
    """
    try:
        from clarion_publisher.sources.outbox.schema import migration  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise Failure(
            f"the outbox needs Clarion's extra `postgres`: {error}", ExitCode.SETUP
        ) from None
    if print_:
        print_line(migration(notify=notify).rstrip())
        return
    was, version = asyncio.run(apply(find_url(url), notify=notify))
    Output(json_).result(
        {"kind": "outbox", "version": version, "was": was}, Text(_told(was, version))
    )


async def apply(url: str, *, notify: bool | None, again: bool = True) -> tuple[int | None, int]:
    """Make or update the outbox. Return the version that there was, if any, and the one there is.

    Args:
        again: also where it is up to date.

    Raises:
        Failure: the database cannot be reached, is too old, or refuses.
    """
    import psycopg  # noqa: PLC0415 - an extra

    from clarion_publisher.sources.outbox import fault, schema  # noqa: PLC0415
    from clarion_publisher.sources.outbox.database import conninfo_of  # noqa: PLC0415

    try:
        async with await psycopg.AsyncConnection.connect(conninfo_of(url)) as connection:
            was = await schema.apply(connection, notify=notify, again=again)
    except ValueError as error:
        raise Failure(f"the URL of PostgreSQL: {error}", ExitCode.USAGE) from None
    except (psycopg.Error, fault.OutboxFault, OSError) as error:
        refused = fault.lasts(error) or not isinstance(error, psycopg.OperationalError)
        code = ExitCode.REFUSED if refused else ExitCode.UNREACHABLE
        raise Failure(f"PostgreSQL: {fault.reason(error)}", code) from None
    return was, max(was or 0, schema.VERSION)


def _told(was: int | None, version: int) -> str:
    if was is None:
        return f"made the outbox, version {version}"
    if was < version:
        return f"brought the outbox from version {was} to {version}"
    return f"the outbox is up to date, version {version}"
