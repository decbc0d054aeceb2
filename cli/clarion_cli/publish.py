"""`clarion publish`: publishes one event with `clarion.publisher`, its data byte for byte."""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated, Final

import msgspec
import typer
from rich.text import Text

from clarion import Audience, topic, user
from clarion.publisher import Publisher, PublishError, Receipt
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output
from clarion_cli.publisher import UrlOption, failure_of, find_publisher
from clarion_cli.token import checked_topic, checked_user
from clarion_contract.events.event import TYPE_PATTERN

# A publisher that is restarted is back by then; a person does not wait longer.
_RETRY_SECONDS: Final = 2.0


def read_audience(to: str) -> tuple[Audience, str]:
    """The audience, and the scope that it needs.

    Raises:
        Failure: ``to`` is not all, authenticated, user:ID or topic:NAME.
    """
    if to in {"all", "authenticated"}:
        return Audience(to), f"publish:{to}"
    kind, _, name = to.partition(":")
    if kind == "user" and name:
        return user(checked_user(name)), "publish:user"
    if kind == "topic" and name:
        return topic(checked_topic(name)), "publish:topic"
    raise Failure(
        f"expected --to all, authenticated, user:ID or topic:NAME, got {to!r}", ExitCode.USAGE
    )


def read_data(argument: str) -> bytes:
    """The JSON text to publish, unchanged; ``-`` reads it from standard input.

    Raises:
        Failure: the text is not JSON.
    """
    data = sys.stdin.buffer.read() if argument == "-" else argument.encode()
    try:
        # Numbers are not converted, because they may have more digits than Python converts.
        json.loads(data, parse_constant=_refuse_constant, parse_int=len)
    except (ValueError, RecursionError) as error:
        where = "standard input" if argument == "-" else repr(argument)
        raise Failure(
            f"expected JSON, got {where}: {error} (text needs quotes inside: '\"hello\"')",
            ExitCode.USAGE,
        ) from None
    return data


def publish(
    type_: Annotated[
        str, typer.Argument(metavar="TYPE", help="The event's type, such as order.updated.")
    ],
    data: Annotated[
        str, typer.Argument(metavar="JSON", help="The event's data. - reads standard input.")
    ],
    to: Annotated[
        str,
        typer.Option(
            metavar="AUDIENCE",
            help="Who receives the event: all (every connection), authenticated (every logged-in "
            "one), user:ID (every connection of one user) or topic:NAME (every connection that "
            "is subscribed to the topic).",
            autocompletion=lambda: ["all", "authenticated", "user:", "topic:"],
        ),
    ] = "all",
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Idempotency key. A second event with the same key is not published.",
            show_default=False,
        ),
    ] = None,
    no_history: Annotated[
        bool,
        typer.Option("--no-history", help="Only clients that are connected now get the event."),
    ] = False,
    publisher_url: UrlOption = None,
    json_: JsonOption = None,
) -> None:
    """Publish one event.

    The command signs a token with the local secret. Set CLARION_TOKEN to use another token; it
    needs the audience's scope, such as publish:user.

    Example: clarion publish --to user:alice order.updated '{"id": 42}'
    """
    if not re.fullmatch(TYPE_PATTERN, type_):
        raise Failure(
            f"expected a type such as order.updated (A-Z a-z 0-9 . _ : / -), got {type_!r}",
            ExitCode.USAGE,
        )
    audience, scope = read_audience(to)
    found = find_publisher(publisher_url, scope=scope)
    text = msgspec.Raw(read_data(data))  # a parser could change its numbers
    with Publisher(found.url, token=found.token, retry_seconds=_RETRY_SECONDS) as publisher:
        try:
            answer = publisher.publish(audience, type_, text, key=key, history=not no_history)
        except PublishError as error:
            raise failure_of(error, found.url) from None
    Output(json_).result(msgspec.structs.asdict(answer), _describe(answer))


def _describe(answer: Receipt) -> Text:
    if answer.duplicate:
        return Text.assemble(
            ("duplicate ", "yellow"), answer.id, ": already published with that key"
        )
    plural = "" if answer.gateways == 1 else "s"
    return Text.assemble(
        ("published ", "green"), answer.id, f" to {answer.gateways} gateway{plural}"
    )


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity: Python reads them, but JSON has none (RFC 8259, section 6)."""
    raise ValueError(f"{name} is not JSON")
