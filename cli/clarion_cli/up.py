"""`clarion up`: the whole of Clarion on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.status import Status
from rich.text import Text

from clarion_cli.failure import Failure
from clarion_cli.output import on_terminal, print_line, print_result
from clarion_cli.stack import Plan, Stack, check_ports
from clarion_cli.state import Addresses, State, find_state
from clarion_cli.token import DEFAULT_EXPIRES_SECONDS, SCOPES, Signer, make_signer
from clarion_cli.valkey import check_redis, find_server

EXAMPLE_HANDLERS: Final = "clarion_examples.chat.handlers:handlers"
MAX_GATEWAYS: Final = 16
_NAME_WIDTH: Final = len("gateway-10")
_COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")
_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Screen:
    """Shows how the stack fares: results on standard output, the processes' logs on the other."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._colours: dict[str, str] = {}
        self._kept_back: list[tuple[str, str]] = []
        self._relays = False

    def ready(self, name: str, seconds: float) -> None:
        """One process more is ready."""
        text = Text.assemble(
            ("  ready  ", "green"), f"{name:{_NAME_WIDTH}}", (f"  {seconds:.1f} s", "dim")
        )
        print_result({"kind": "ready", "process": name, "seconds": round(seconds, 3)}, text)

    def line(self, name: str, line: str) -> None:
        """A process's log line, shown while the stack is up; until then kept for `explain`."""
        if self._relays:
            self._print(name, line)
        else:
            self._kept_back.append((name, line))

    def explain(self) -> None:
        """The start failed: show what was logged until then."""
        for name, line in self._kept_back:
            self._print(name, line)

    def up(self, record: dict[str, object], text: RenderableType) -> None:
        """Everything is ready; logs are relayed from now on."""
        print_result(record, text)
        self._relays = True

    def stopping(self) -> None:
        """Everything is about to say farewell, which nobody needs to read."""
        self._relays = False

    def _print(self, name: str, line: str) -> None:
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        prefix = Text(f"{name:{_NAME_WIDTH}} | ", style=colour)
        self._console.print(prefix + Text.from_ansi(line), soft_wrap=True)


def default_handlers() -> str:
    """The chat example where it is installed (the production image does without), else none."""
    package = EXAMPLE_HANDLERS.partition(".")[0]
    return EXAMPLE_HANDLERS if find_spec(package) else ""


def up(
    gateways: Annotated[
        int, typer.Option(min=1, max=MAX_GATEWAYS, metavar="N", help="How many gateways.")
    ] = 2,
    gateway_port: Annotated[
        int,
        typer.Option(min=1, max=65_535, metavar="PORT", help="Of the first; the others follow."),
    ] = 8001,
    gateway_internal_port: Annotated[
        int,
        typer.Option(min=1, max=65_535, metavar="PORT", help="Of the first: metrics and health."),
    ] = 9001,
    publisher_port: Annotated[
        int, typer.Option(min=1, max=65_535, metavar="PORT", help="Its API.")
    ] = 8080,
    publisher_internal_port: Annotated[
        int, typer.Option(min=1, max=65_535, metavar="PORT", help="Metrics and health.")
    ] = 9080,
    handlers: Annotated[
        str,
        typer.Option(
            envvar="GATEWAY_HANDLERS", metavar="MODULE:NAME", help="Your application's handlers."
        ),
    ] = default_handlers(),
) -> None:
    """Run Clarion on this machine until Ctrl-C.

    Starts Valkey, a publisher and two gateways, and prints tokens and commands to try.
    CLARION_REDIS_URL names a Redis to use instead of Valkey.
    """
    state = find_state(Path.cwd())
    with state.locked():
        redis_url = os.environ.get("CLARION_REDIS_URL") or None
        if not os.environ.get("CLARION_JWT_SECRET"):
            state.make_secret()
        signer = make_signer(state)
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
        )
        check_ports(plan)
        if redis_url is None:
            find_server()
        else:
            check_redis(redis_url)
        asyncio.run(run(plan, signer, state, Screen()))


async def run(plan: Plan, signer: Signer, state: State, screen: Screen) -> None:
    """Start, serve until a signal comes, stop.

    Raises:
        Failure: the start failed, or a process ended by itself.
    """
    stack = Stack(plan, screen)
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
            with _progress("stopping"):
                await _stop(stack, stopping)


async def _serve(stack: Stack, plan: Plan, signer: Signer, state: State, screen: Screen) -> None:
    try:
        with _progress("starting"):
            await stack.start()
    except Failure:
        screen.explain()
        raise
    with state.announced(plan.addresses):
        record, text = describe_stack(plan.addresses, signer)
        screen.up(record, text)
        ended = await stack.first_exit()
    raise Failure(f"{ended.name} ended by itself with exit code {ended.exit_code}; all is stopped")


async def _stop(stack: Stack, again: asyncio.Event) -> None:
    """Stop; a second signal ends the patience."""
    again.clear()
    stop = asyncio.ensure_future(stack.stop())
    impatient = asyncio.ensure_future(again.wait())
    await asyncio.wait({stop, impatient}, return_when=asyncio.FIRST_COMPLETED)
    impatient.cancel()
    if not stop.done():
        stop.cancel()
    await asyncio.wait({stop})


def describe_stack(addresses: Addresses, signer: Signer) -> tuple[dict[str, object], Group]:
    """What a person needs to try it, as a record and as text."""
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
    commands = (
        (f"{clarion} tail --user alice", "what alice receives"),
        (f"{clarion} publish --to user:alice order.updated '{{\"id\": 42}}'", "one event to her"),
        (f"curl -N {last}/sse", "what an anonymous page receives"),
    )
    places = (("page", addresses.gateways[0]), ("publisher", f"{addresses.publisher}/v1/events"))
    return record, Group(
        Text.assemble("\n", ("Clarion is up.", "bold"), (" Ctrl-C stops it.", "dim"), "\n"),
        *(_row(name, place, "bold cyan") for name, place in places),
        Text("\ntokens, for 24 hours", style="bold"),
        *(_row(name, token) for name, token in tokens.items()),
        Text("\nto try in another terminal", style="bold"),
        *(Text.assemble((f"  # {why}\n", "dim"), f"  {command}") for command, why in commands),
        Text(""),
    )


def _row(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<{_NAME_WIDTH}}  ", "dim"), (value, style))


def _command_name() -> str:
    """How to call this command from the person's shell."""
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


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """A spinner for people; for programs nothing, or a line where it stops."""
    if on_terminal():
        with Status(f"{what} …", console=Console()):
            yield
    else:
        print_line(msgspec.json.encode({"kind": what}).decode())
        yield
