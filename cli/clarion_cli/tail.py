"""`clarion tail`: prints events as they arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.text import Text

from clarion.client import (
    Client,
    ClosedError,
    Connecting,
    Event,
    Open,
    Refresh,
    Status,
)
from clarion.local import is_local
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.gateway import UrlOption, UserOption, token_source
from clarion_cli.output import JsonOption, Output, print_line, print_notice
from clarion_cli.state import find_state
from clarion_cli.token import checked_topic

_COLOURS: Final = {"all": "cyan", "authenticated": "green", "user": "magenta", "topic": "yellow"}
# The position of the time of day in an RFC 3339 time, to the millisecond.
_CLOCK: Final = slice(11, 23)


def one_line(text: str) -> str:
    """A message on one line, without line breaks in a producer's JSON. Numbers stay the same."""
    if "\n" not in text and "\r" not in text:
        return text
    return msgspec.json.format(text, indent=-1)


def describe_event(event: Event) -> Text:
    """An event as readable text: time, audience, type, data."""
    data = msgspec.json.encode(msgspec.json.decode(event.json)).decode()
    return Text.assemble(
        (event.time[_CLOCK], "dim"),
        "  ",
        (f"{event.topic or event.audience:13}", _COLOURS.get(event.audience, "")),
        "  ",
        (event.type, "bold"),
        "  ",
        data,
    )


def describe_open(status: Open) -> str:
    """The notice that the client is connected: where, as whom, and what it receives."""
    resumed = {True: ", resumed", False: ", NOT resumed: events may be missing", None: ""}
    topics = "".join(
        f"; {text}: {', '.join(names)}"
        for text, names in (
            ("topics", status.topics),
            ("NOT resumed, events may be missing", status.not_resumed),
            ("not granted by the token", status.forbidden),
        )
        if names
    )
    user = status.user or "anonymous"
    return f"connected to {status.pod} as {user}{resumed[status.resumed]}{topics}"


class Notices:
    """Tells on standard error how the connection is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._hinted = False
        self._is_new = True

    def tell(self, status: Status) -> None:
        """Print what matters of a new status; if not quiet, each connection too."""
        if isinstance(status, Connecting):
            self._is_new = True
        if isinstance(status, Connecting) and status.retry_seconds is not None:
            local = is_local(status.url) and not self._hinted
            hint = " (is `clarion up` running?)" if local else ""
            print_notice(f"{status.reason}{hint}; next attempt in {status.retry_seconds:.1f} s")
            self._hinted = True
        elif isinstance(status, Open) and self._is_new:
            self._hinted = True  # a gateway has answered: `clarion up` runs
            self._is_new = False  # what follows on the same connection are fresh tokens
            if not self._quiet or status.resumed is False or status.not_resumed:
                print_notice(describe_open(status))


async def print_events(client: Client, output: Output) -> None:
    """Print until interrupted."""
    async with client:
        async for item in client:
            if isinstance(item, Refresh):
                if item.reason == "gap":
                    print_notice("gap: events before this may be missing")
            elif isinstance(item, Event) and output.readable:
                output.text(describe_event(item))
            elif isinstance(item, Event):
                print_line(one_line(item.text))


def tail(
    user: UserOption = None,
    url: UrlOption = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="POSITION", help="Begin after the event with this id.", show_default=False
        ),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Receive a topic's events too; may be repeated. Needs --user or CLARION_TOKEN.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Report only what may mean missing events.")
    ] = False,
    json_: JsonOption = None,
) -> None:
    """Print events as they arrive, until Ctrl-C.

    The command connects anonymously, or as a user. Set CLARION_TOKEN to use a token of your own.
    After a lost connection it resumes where it stopped, on the next gateway, and misses nothing.
    """
    state = find_state(Path.cwd())
    topics = [checked_topic(each) for each in topic or ()]
    try:
        client = Client(
            url or state.addresses().gateways,
            get_token=token_source(state, user, topics),
            topics=topics,
            since=since,
            on_status=Notices(quiet=quiet).tell,
        )
        asyncio.run(print_events(client, Output(json_)))
    except ClosedError as error:
        raise Failure(f"the gateway refused: {error.reason}", _code(error)) from None
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from None


def _code(error: ClosedError) -> ExitCode:
    """404 and foreign messages come from something that is no gateway."""
    elsewhere = error.code in {404, "not_a_gateway"}
    return ExitCode.UNREACHABLE if elsewhere else ExitCode.REFUSED
