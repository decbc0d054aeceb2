"""`clarion up`: runs all of Clarion on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.outbox import EMBEDDED, find_url
from clarion_cli.output import JsonOption, Output, print_error
from clarion_cli.postgres import find_programs, url_of
from clarion_cli.process import Process
from clarion_cli.reloading import check_reload, reload_on_changes, watched_folders
from clarion_cli.service import StartFailure
from clarion_cli.stack import Plan, Stack, check_ports
from clarion_cli.state import Addresses, State, find_state
from clarion_cli.token import DEFAULT_EXPIRES_SECONDS, SCOPES, Signer, make_signer, secret_of
from clarion_cli.valkey import check_redis, find_redis, find_server, free_port

EXAMPLE_HANDLERS: Final = "clarion_examples.chat.handlers:handlers"
MAX_GATEWAYS: Final = 16
_NAME_WIDTH: Final = len("gateway-10")
_COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")
_STATEMENTS: Final = (
    (
        "SELECT clarion_publish('user:alice', 'order.updated', jsonb_build_object('id', 42))",
        "publish one event to alice, by a commit",
    ),
    (
        "BEGIN; SELECT clarion_publish('all', 'tick'); ROLLBACK",
        "publish nothing, by a rollback",
    ),
    (
        "INSERT INTO clarion_outbox (audience, type, data) VALUES ('all', 'tick', '2')",
        "publish by a plain INSERT, as any library makes it",
    ),
)
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Screen:
    """Shows the stack: results on standard output, the processes' logs on standard error."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._console = Console(stderr=True)
        self._colours: dict[str, str] = {}
        self._kept_back: list[tuple[str, str]] = []
        self._relays = False

    def ready(self, name: str, seconds: float) -> None:
        """Show that one more process is ready."""
        text = Text.assemble(
            ("  ready  ", "green"), f"{name:{_NAME_WIDTH}}", (f"  {seconds:.1f} s", "dim")
        )
        self.output.result({"kind": "ready", "process": name, "seconds": round(seconds, 3)}, text)

    def ended(self, name: str, exit_code: int | None) -> None:
        """Show that a process ended by itself and is started again."""
        text = Text.assemble(
            (" restart ", "yellow"), f"{name:{_NAME_WIDTH}}  exit code {exit_code}"
        )
        self.output.result({"kind": "restarting", "process": name, "exit_code": exit_code}, text)

    def line(self, name: str, line: str) -> None:
        """A log line of a process. Printed while the stack is up; before, kept for `explain`."""
        if self._relays:
            self._print(name, line)
        else:
            self._kept_back.append((name, line))

    def explain(self, failed: str) -> None:
        """Print what the process ``failed`` logged, because the start failed."""
        for name, line in self._kept_back:
            if name == failed:
                self._print(name, line)

    def up(self, record: dict[str, object], text: RenderableType) -> None:
        """Everything is ready; logs are relayed from now on."""
        self.output.result(record, text)
        self._kept_back.clear()
        self._relays = True

    def reloading(self, files: Collection[str]) -> None:
        """Show that the gateways restart because these files have changed."""
        text = Text.assemble(("reloading ", "yellow"), ", ".join(files))
        self.output.result({"kind": "reloading", "files": list(files)}, text)

    def not_reloaded(self, why: str) -> None:
        """Say why the new code does not start; what runs goes on."""
        print_error(f"{why}; waiting for the next change")

    def stopping(self) -> None:
        """Drop log lines from now on: the processes will only log that they stop."""
        self._relays = False

    def _print(self, name: str, line: str) -> None:
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        prefix = Text(f"{name:{_NAME_WIDTH}} | ", style=colour)
        self._console.print(prefix + Text.from_ansi(line), soft_wrap=True)


def default_handlers() -> str:
    """The chat example if it is installed (not in the production image), else no handlers."""
    package = EXAMPLE_HANDLERS.partition(".")[0]
    return EXAMPLE_HANDLERS if find_spec(package) else ""


def up(
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
        record, text = describe_stack(plan.addresses, signer)
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


def describe_stack(addresses: Addresses, signer: Signer) -> tuple[dict[str, object], Group]:
    """Addresses, tokens and commands to try, as a record and as text."""
    tokens = {
        user: signer.sign(user, expires_seconds=DEFAULT_EXPIRES_SECONDS)
        for user in ("alice", "bob")
    }
    tokens["publisher"] = signer.sign(
        "publisher", scope=" ".join(SCOPES), expires_seconds=DEFAULT_EXPIRES_SECONDS
    )
    record: dict[str, object] = {
        "kind": "up",
        **msgspec.structs.asdict(addresses),
        "tokens": tokens,
    }
    clarion = _command_name()
    last = addresses.gateways[-1]
    commands: tuple[tuple[str, str], ...] = (
        (f"{clarion} tail --user alice", "print what alice receives"),
        (
            f"{clarion} publish --to user:alice order.updated '{{\"id\": 42}}'",
            "publish one event to alice",
        ),
        (f"curl -N {last.rstrip('/')}/sse", "print what an anonymous page receives"),
    )
    if addresses.outbox is not None:
        commands += tuple((f'psql {addresses.outbox} -c "{sql}"', why) for sql, why in _STATEMENTS)
    pages = [(f"gateway-{number}", url) for number, url in enumerate(addresses.gateways, start=1)]
    return record, Group(
        Text.assemble("\n", ("Clarion is up.", "bold"), (" Ctrl-C stops it.", "dim"), "\n"),
        Text("pages to open in a browser", style="bold"),
        *(_row(name, url, "bold cyan") for name, url in pages),
        Text("\nto publish over HTTP", style="bold"),
        _row("publisher", f"{addresses.publisher}/v1/events", "bold cyan"),
        *([] if addresses.outbox is None else [_row("outbox", addresses.outbox, "bold cyan")]),
        Text("\ntokens, for 24 hours", style="bold"),
        *(_row(name, token) for name, token in tokens.items()),
        Text("\nto try in another terminal", style="bold"),
        *(Text.assemble((f"  # {why}\n", "dim"), f"  {command}") for command, why in commands),
        Text(""),
    )


def _row(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<{_NAME_WIDTH}}  ", "dim"), (value, style))


def _command_name() -> str:
    """The command line that runs this command in the current shell."""
    here = Path(sys.argv[0]).absolute()
    found = shutil.which("clarion")
    if found and Path(found).absolute() == here:
        return "clarion"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else "clarion"


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
