"""`clarion users`, `connections`, `disconnect`, `topics`: the connections of users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output
from clarion_cli.publisher import UrlOption, find_publisher
from clarion_cli.token import checked_topic, checked_user
from clarion_publisher.sources.http.answers import (
    AllConnections,
    ConnectionsReceipt,
    DisconnectReceipt,
    UserPresence,
)

_READ: Final = "users:read"
_DISCONNECT: Final = "users:disconnect"
_TOPICS: Final = "users:topics"

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


def users(user: UserArgument, publisher_url: UrlOption = None, json_: JsonOption = None) -> None:
    """Show whether and where a user is connected.

    The command signs a token with the local secret. Set CLARION_TOKEN to use another token; it
    needs the scope users:read.
    """
    path = _path(user)
    answer = find_publisher(publisher_url, scope=_READ).ask("GET", path, UserPresence)
    Output(json_).result(msgspec.to_builtins(answer), _describe_user(answer))


def connections(publisher_url: UrlOption = None, json_: JsonOption = None) -> None:
    """Show how many connections each gateway holds.

    The command signs a token with the local secret. Set CLARION_TOKEN to use another token; it
    needs the scope users:read.
    """
    answer = find_publisher(publisher_url, scope=_READ).ask(
        "GET", "/v1/connections", AllConnections
    )
    Output(json_).result(msgspec.to_builtins(answer), _describe_connections(answer))


def disconnect(
    user: UserArgument,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The text in the close frame.", show_default=False),
    ] = None,
    bar: Annotated[bool, typer.Option("--bar", help="Tell the clients not to reconnect.")] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Also revoke the tokens that the user has now.")
    ] = False,
    publisher_url: UrlOption = None,
    json_: JsonOption = None,
) -> None:
    """Close all connections of a user, on every gateway.

    Clients reconnect by themselves, unless --bar tells them not to. To lock a user out, use
    --revoke and make sure your issuer does not give the user new tokens.

    The number of connections is the one in Redis at that moment. Connections of the last moments
    may be missing from it, but they are closed too.

    The command signs a token with the local secret. Set CLARION_TOKEN to use another token; it
    needs the scope users:disconnect.
    """
    path = f"{_path(user)}/disconnect"
    order: dict[str, object] = {"reconnect": not bar, "revoke": revoke}
    if reason is not None:
        order["reason"] = reason
    answer = find_publisher(publisher_url, scope=_DISCONNECT).ask(
        "POST", path, DisconnectReceipt, body=msgspec.json.encode(order)
    )
    record = msgspec.to_builtins(answer)
    if answer.tokens_good_from is None:  # no tokens were revoked
        del record["tokens_good_from"]
    Output(json_).result(record, _describe_disconnect(user, answer))


def topics(
    user: UserArgument,
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="TOPIC",
            help="The connections receive the topic from now on.",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            metavar="TOPIC",
            help="The connections receive the topic no more.",
            show_default=False,
        ),
    ] = None,
    publisher_url: UrlOption = None,
    json_: JsonOption = None,
) -> None:
    """Give topics to all live connections of a user, on every gateway, or take them away.

    Each option may be given several times. Connections that begin later are not concerned, and
    topics that the user's token lists stay.

    The command signs a token with the local secret. Set CLARION_TOKEN to use another token; it
    needs the scope users:topics.

    Example: clarion topics alice --add order.42 --remove order.7
    """
    if not add and not remove:
        raise Failure("expected --add TOPIC or --remove TOPIC, got neither", ExitCode.USAGE)
    order = {
        "add": [checked_topic(name) for name in add or ()],
        "remove": [checked_topic(name) for name in remove or ()],
    }
    answer = find_publisher(publisher_url, scope=_TOPICS).ask(
        "POST", f"{_path(user)}/topics", ConnectionsReceipt, body=msgspec.json.encode(order)
    )
    Output(json_).result(msgspec.to_builtins(answer), _describe_topics(user, answer))


def _path(user: str) -> str:
    return f"/v1/users/{quote(checked_user(user), safe='')}"


def _describe_disconnect(user: str, answer: DisconnectReceipt) -> Text:
    told = f"told {_count(answer.gateways, 'gateway')}"
    if answer.connections is None:
        return Text.assemble(
            ("disconnected ", "green"), f"{user}: {told}; the number of connections is not known"
        )
    if answer.connections == 0:
        return Text.assemble(
            user, (" was not connected", "yellow"), f" as far as is known; {told} all the same"
        )
    return Text.assemble(
        ("disconnected ", "green"),
        f"{user}: {told} to close {_count(answer.connections, 'known connection')}",
    )


def _describe_topics(user: str, answer: ConnectionsReceipt) -> Text:
    told = f"told {_count(answer.gateways, 'gateway')}"
    if answer.connections is None:
        return Text.assemble(
            ("changed ", "green"),
            f"the topics of {user}: {told}; the number of connections is not known",
        )
    known = _count(answer.connections, "known connection")
    return Text.assemble(
        ("changed ", "green"), f"the topics of {user}: {told} to change those of {known}"
    )


def _describe_user(answer: UserPresence) -> RenderableType:
    if answer.since is None:
        return Text.assemble(answer.user, (" is not connected", "yellow"))
    headline = Text.assemble(
        answer.user,
        (" is connected", "green"),
        f": {_count(answer.connections, 'connection')} since {_time(answer.since)}",
    )
    return Group(
        headline,
        _table(
            ["pod", "connections", "since"],
            [[pod.pod, str(pod.connections), _time(pod.since)] for pod in answer.pods],
        ),
    )


def _describe_connections(answer: AllConnections) -> RenderableType:
    headline = (
        f"{_count(answer.connections, 'connection')} on {_count(len(answer.pods), 'gateway')}: "
        f"{answer.authenticated} authenticated, {answer.anonymous} anonymous"
    )
    rows = [
        [
            pod.pod,
            *map(str, (pod.connections, pod.authenticated, pod.anonymous, pod.users)),
            "yes" if pod.ready else "no",
        ]
        for pod in answer.pods
    ]
    return Group(
        headline,
        _table(["pod", "connections", "authenticated", "anonymous", "users", "ready"], rows),
    )


def _table(head: list[str], rows: list[list[str]]) -> Table:
    table = Table(*head, box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    return table


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _time(time: datetime) -> str:
    return time.astimezone().isoformat(" ", "seconds")
