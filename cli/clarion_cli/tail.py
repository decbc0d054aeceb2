"""`clarion tail`: prints events as they arrive."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from clarion_cli.failure import Failure
from clarion_cli.follower import Follower, Lost, Message
from clarion_cli.output import on_terminal, print_line, print_notice
from clarion_cli.state import find_state
from clarion_cli.token import TOKEN_VARIABLE, checked_user, make_signer

_TOKEN_SECONDS: Final = 3600
_COLOURS: Final = {"all": "cyan", "authenticated": "green", "user": "magenta"}
# The clock's part of an RFC 3339 time, to the millisecond.
_CLOCK: Final = slice(11, 23)


def one_line(text: str) -> str:
    """A message on one line; a producer's JSON may hold line breaks. Numbers stay as they are."""
    if "\n" not in text and "\r" not in text:
        return text
    return msgspec.json.format(text, indent=-1)


def describe_event(fields: dict[str, Any]) -> Text:
    """An event for people: time, audience, type, data."""
    audience = str(fields["audience"])
    data = msgspec.json.encode(fields["data"]).decode()
    return Text.assemble(
        (str(fields["time"])[_CLOCK], "dim"),
        "  ",
        (f"{audience:13}", _COLOURS.get(audience, "")),
        "  ",
        (str(fields["type"]), "bold"),
        "  ",
        data,
    )


def notice_of(message: Message) -> str | None:
    """What to say about a message that is no event; None: nothing."""
    fields = message.fields
    match message.kind:
        case "welcome":
            who = fields["user"] or "anonymous"
            resumed = {True: ", resumed", False: ", NOT resumed: events may be missing"}
            return f"connected to {fields['pod']} as {who}{resumed.get(fields['resumed'], '')}"
        case "gap":
            return "gap: the history broke, events before this may be missing"
        case "reconnect":
            return f"the gateway asks to reconnect: {fields['reason']}"
        case "error":
            return f"error {fields['code']}: {fields['message']}"
    return None


async def print_events(follower: Follower, *, notices: bool) -> None:
    """Print until interrupted."""
    console = Console() if on_terminal() else None
    async for item in follower.follow():
        if isinstance(item, Lost):
            print_notice(f"{item.reason}; trying again in {item.retry_seconds:.1f} s")
        elif item.kind == "event":
            if console is None:
                print_line(one_line(item.text))
            else:
                console.print(describe_event(item.fields), soft_wrap=True)
        elif (notice := notice_of(item)) and (notices or _matters(item)):
            print_notice(notice)


def tail(
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Log in as this user. Default: anonymous.", show_default=False
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="CLARION_GATEWAY_URL",
            help="A gateway; repeat it to take turns. Default: those of the running `clarion up`.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="POSITION", help="Begin after this event id.", show_default=False),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say only what may mean missing events.")
    ] = False,
) -> None:
    """Print events as they arrive, until Ctrl-C.

    As one user, or anonymously; CLARION_TOKEN names a token of your own. A lost connection is
    resumed where it broke, on the next gateway, and nothing is missed.
    """
    state = find_state(Path.cwd())
    token, renewable = None, True
    if given := os.environ.get(TOKEN_VARIABLE):
        if user is not None:
            raise Failure(f"--user and {TOKEN_VARIABLE} exclude each other", exit_code=2)
        token, renewable = (lambda: given), False
    elif user is not None:
        signer, subject = make_signer(state), checked_user(user)
        token = lambda: signer.sign(subject, expires_seconds=_TOKEN_SECONDS)  # noqa: E731
    follower = Follower(
        url or state.addresses().gateways, token=token, renewable=renewable, since=since
    )
    asyncio.run(print_events(follower, notices=not quiet))


def _matters(message: Message) -> bool:
    return message.kind in {"gap", "error"} or message.fields.get("resumed") is False
