"""`clarion tail`: prints events as they arrive."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import typer
from rich.text import Text

from clarion_cli.address import is_local
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.follower import Follower, Lost, Message
from clarion_cli.output import JsonOption, Output, print_line, print_notice
from clarion_cli.state import find_state
from clarion_cli.token import TOKEN_VARIABLE, checked_topic, checked_user, make_signer

_TOKEN_SECONDS: Final = 3600
_COLOURS: Final = {"all": "cyan", "authenticated": "green", "user": "magenta", "topic": "yellow"}
# What `welcome` says of topics, in words.
_TOPICS: Final = {
    "topics": "topics",
    "not_resumed": "NOT resumed, events may be missing",
    "forbidden": "not granted by the token",
}
# The position of the time of day in an RFC 3339 time, to the millisecond.
_CLOCK: Final = slice(11, 23)


def one_line(text: str) -> str:
    """A message on one line, without line breaks in a producer's JSON. Numbers stay the same."""
    if "\n" not in text and "\r" not in text:
        return text
    return msgspec.json.format(text, indent=-1)


def describe_event(fields: dict[str, Any]) -> Text:
    """An event as readable text: time, audience, type, data."""
    audience, shown = str(fields["audience"]), str(fields.get("topic", fields["audience"]))
    data = msgspec.json.encode(fields["data"]).decode()
    return Text.assemble(
        (str(fields["time"])[_CLOCK], "dim"),
        "  ",
        (f"{shown:13}", _COLOURS.get(audience, "")),
        "  ",
        (str(fields["type"]), "bold"),
        "  ",
        data,
    )


def notice_of(message: Message) -> str | None:
    """The notice for a message that is not an event; None: there is none."""
    fields = message.fields
    match message.kind:
        case "welcome":
            who = fields["user"] or "anonymous"
            resumed = {True: ", resumed", False: ", NOT resumed: events may be missing"}
            topics = "".join(
                f"; {text}: {', '.join(fields[name])}"
                for name, text in _TOPICS.items()
                if fields.get(name)
            )
            resumption = resumed.get(fields["resumed"], "")
            return f"connected to {fields['pod']} as {who}{resumption}{topics}"
        case "gap":
            return "gap: events before this may be missing"
        case "reconnect":
            return f"the gateway asks to reconnect: {fields['reason']}"
        case "error":
            return f"error {fields['code']}: {fields['message']}"
    return None


async def print_events(follower: Follower, output: Output, *, notices: bool) -> None:
    """Print until interrupted."""
    hinted = False
    async for item in follower.follow():
        if isinstance(item, Lost):
            hint = "" if hinted or not is_local(item.url) else " (is `clarion up` running?)"
            print_notice(f"{item.reason}{hint}; next attempt in {item.retry_seconds:.1f} s")
            hinted = True
            continue
        hinted = True  # a gateway has answered: `clarion up` runs
        if item.kind == "event":
            if output.readable:
                output.text(describe_event(item.fields))
            else:
                print_line(one_line(item.text))
        elif (notice := notice_of(item)) and (notices or _matters(item)):
            print_notice(notice)


def tail(
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Connect as this user. Default: anonymous.", show_default=False
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="CLARION_GATEWAY_URL",
            metavar="URL",
            help="A gateway's URL. Repeat it to name several; after a lost connection the next one "
            "is tried. Default: the gateways of the running `clarion up`.",
            show_default=False,
        ),
    ] = None,
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
    token, renewable = None, True
    topics = [checked_topic(each) for each in topic or ()]
    if given := os.environ.get(TOKEN_VARIABLE):
        if user is not None:
            raise Failure(f"--user and {TOKEN_VARIABLE} exclude each other", ExitCode.USAGE)
        token, renewable = (lambda: given), False
    elif user is not None:
        signer, subject = make_signer(state), checked_user(user)
        token = lambda: signer.sign(  # noqa: E731
            subject, expires_seconds=_TOKEN_SECONDS, subscribe=topics or None
        )
    elif topics:
        raise Failure(f"--topic needs --user or {TOKEN_VARIABLE}", ExitCode.USAGE)
    urls = [_with_topics(each, topics) for each in url or state.addresses().gateways]
    follower = Follower(urls, token=token, renewable=renewable, since=since)
    asyncio.run(print_events(follower, Output(json_), notices=not quiet))


def _with_topics(url: str, topics: Sequence[str]) -> str:
    """A gateway's address that asks for topics."""
    if not topics:
        return url
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query), *(("topic", each) for each in topics)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _matters(message: Message) -> bool:
    not_resumed = message.fields.get("resumed") is False or "not_resumed" in message.fields
    return message.kind in {"gap", "error"} or not_resumed
