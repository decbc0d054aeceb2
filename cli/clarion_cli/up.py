"""`clarion up`: runs all of Clarion on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from clarion_cli.announcement import describe_stack
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.outbox import EMBEDDED, find_url
from clarion_cli.output import JsonOption, Output
from clarion_cli.plan import Plan, check_ports
from clarion_cli.postgres import find_programs, url_of
from clarion_cli.process import Process
from clarion_cli.reloading import check_reload, reload_on_changes, watched_folders
from clarion_cli.screen import Screen
from clarion_cli.service import StartFailure
from clarion_cli.stack import Stack
from clarion_cli.state import State, find_state
from clarion_cli.token import Signer, make_signer, secret_of
from clarion_cli.valkey import check_redis, find_redis, find_server, free_port
from clarion_contract.service.origins import check_entries

EXAMPLE_HANDLERS: Final = "clarion_examples.chat.handlers:handlers"
MAX_GATEWAYS: Final = 16
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def default_handlers() -> str:
    """The chat example if it is installed (not in the production image), else no handlers."""
    package = EXAMPLE_HANDLERS.partition(".")[0]
    return EXAMPLE_HANDLERS if find_spec(package) else ""


def up(  # noqa: PLR0913, PLR0917 - the options of a command
    gateways: Annotated[
        int,
        typer.Option(min=1, max=MAX_GATEWAYS, metavar="N", help="How many gateways to start."),
    ] = 2,
    gateway_port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535,
            metavar="PORT",
            help="Port of the first gateway. The second one takes the next port, and so on.",
        ),
    ] = 8001,
    gateway_internal_port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535,
            metavar="PORT",
            help="Port for the first gateway's metrics and health. The others follow.",
        ),
    ] = 9001,
    publisher_port: Annotated[
        int, typer.Option(min=1, max=65_535, metavar="PORT", help="Port of the publisher's API.")
    ] = 8080,
    publisher_internal_port: Annotated[
        int,
        typer.Option(
            min=1, max=65_535, metavar="PORT", help="Port for the publisher's metrics and health."
        ),
    ] = 9080,
    handlers: Annotated[
        str,
        typer.Option(
            envvar="GATEWAY_HANDLERS",
            metavar="MODULE:NAME",
            help="Your application's handlers. The gateways import them from the current folder.",
        ),
    ] = default_handlers(),
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Let pages of this origin connect too, such as https://app.test; may be repeated. "
            "Pages of this machine may always.",
            show_default=False,
        ),
    ] = None,
    outbox: Annotated[
        str | None,
        typer.Option(
            metavar="[URL]",
            help="Read the outbox of a PostgreSQL database, and make its tables if they are "
            "missing. Without a URL, a PostgreSQL is started.",
            show_default=False,
        ),
    ] = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="Restart the gateways when Python files of the application change."
        ),
    ] = False,
    json_: JsonOption = None,
) -> None:
    """Run Clarion on this machine until Ctrl-C.

    Starts Valkey, a publisher and gateways, and prints their addresses, tokens for 24 hours and
    commands to try. Set CLARION_REDIS_URL to use a running Redis instead of Valkey.
    """
    check_handlers(handlers)
    check_origins(allow_origin or ())
    if reload:
        check_reload(handlers)
    state = find_state(Path.cwd())
    with state.locked():
        redis_url = find_redis()
        if not secret_of("CLARION_JWT_SECRET"):
            state.make_secret()
        signer = make_signer(state)
        outbox_url, postgres_port = find_outbox(outbox)
        plan = Plan(
            secret=signer.secret,
            gateways=gateways,
            gateway_port=gateway_port,
            gateway_internal_port=gateway_internal_port,
            publisher_port=publisher_port,
            publisher_internal_port=publisher_internal_port,
            redis_url=redis_url,
            handlers=handlers or None,
            pretty=sys.stderr.isatty(),
            gateway_path_prefix=os.environ.get("GATEWAY_PATH_PREFIX", "").rstrip("/"),
            reload=reload,
            allowed_origins=tuple(allow_origin or ()),
            publisher_path_prefix=os.environ.get("PUBLISHER_PATH_PREFIX", "").rstrip("/"),
            outbox_url=outbox_url,
            postgres_port=postgres_port,
        )
        check_ports(plan)
        if redis_url is None:
            find_server()
        else:
            check_redis(redis_url)
        asyncio.run(run(plan, signer, state, Screen(Output(json_))))


def find_outbox(outbox: str | None) -> tuple[str | None, int | None]:
    """The URL of the outbox's database, and the port of one that is to be started.

    Raises:
        Failure: it cannot be read or started here.
    """
    if outbox is None:
        return None, None
    if not find_spec("psycopg"):
        extra = "postgres-embedded" if outbox == EMBEDDED else "postgres"
        raise Failure(f"--outbox needs Clarion's extra `{extra}`", ExitCode.SETUP)
    if outbox != EMBEDDED:
        return find_url(outbox), None
    find_programs()
    port = free_port()
    return url_of(port), port


def check_handlers(path: str) -> None:
    """Return if ``path`` has the form of a module and a name, or is empty.

    Raises:
        Failure: the text has another form.
    """
    module, _, name = path.partition(":")
    if path and not all(part.isidentifier() for part in (*module.split("."), name)):
        raise Failure(
            f"expected --handlers MODULE:NAME, such as shop.live:handlers, got {path!r}",
            ExitCode.USAGE,
        )


def check_origins(origins: Sequence[str]) -> None:
    """Return if pages can have these origins.

    Raises:
        Failure: one is no origin.
    """
    try:
        check_entries(origins)
    except ValueError as error:
        raise Failure(f"--allow-origin: {error}", ExitCode.USAGE) from None


async def run(plan: Plan, signer: Signer, state: State, screen: Screen) -> None:
    """Start the stack, serve until a signal comes, and stop it.

    Raises:
        Failure: the start failed, a service does not start again, or a server ended by itself.
    """
    stack = Stack(plan, screen, state.note_pid)
    serving = asyncio.ensure_future(_serve(stack, plan, signer, state, screen))
    stopping = asyncio.Event()
    with _signals(stopping):
        signalled = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({serving, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            signalled.cancel()
            serving.cancel()
            await asyncio.wait({serving})
            screen.stopping()
            with screen.output.progress("stopping"):
                await _stop(stack, stopping)


async def _serve(stack: Stack, plan: Plan, signer: Signer, state: State, screen: Screen) -> None:
    try:
        with screen.output.progress("starting"):
            await stack.start()
    except StartFailure as failure:
        if not failure.told:
            screen.explain(failure.process)
        raise
    with state.announced(plan.addresses):
        reloading = await _watching(stack, plan, screen) if plan.reload else None
        record, text = describe_stack(plan.addresses, signer, plan.handlers)
        screen.up(record, text)
        ended = await _first_exit(stack, reloading)
    raise Failure(
        f"{ended.name} ended by itself with exit code {ended.exit_code}; the others are stopped"
    )


async def _watching(stack: Stack, plan: Plan, screen: Screen) -> asyncio.Task[None]:
    """A task that restarts gateways when code changes; it watches the files already."""
    folders = watched_folders(plan.handlers or "", Path.cwd())
    task = asyncio.create_task(
        reload_on_changes(stack, folders, changed=screen.reloading, failed=screen.not_reloaded)
    )
    await asyncio.sleep(0)  # the task begins to watch before it waits
    return task


async def _first_exit(stack: Stack, reloading: asyncio.Task[None] | None) -> Process:
    """Wait for a process to end by itself; return it."""
    if reloading is None:
        return await stack.first_exit()
    ended = asyncio.create_task(stack.first_exit())
    try:
        await asyncio.wait({ended, reloading}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            reloading.result()  # raises why files cannot be watched
        return await ended
    finally:
        ended.cancel()
        reloading.cancel()
        await asyncio.wait({ended, reloading})


async def _stop(stack: Stack, again: asyncio.Event) -> None:
    """Stop the stack; a second signal kills what is left."""
    again.clear()
    stop = asyncio.ensure_future(stack.stop())
    impatient = asyncio.ensure_future(again.wait())
    await asyncio.wait({stop, impatient}, return_when=asyncio.FIRST_COMPLETED)
    impatient.cancel()
    if not stop.done():
        stop.cancel()
    await asyncio.wait({stop})


@contextmanager
def _signals(stopping: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)
