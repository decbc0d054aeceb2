"""`clarion users`, `connections`, `disconnect`: who is connected where, and closing it."""

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

from clarion_cli.output import print_result
from clarion_cli.publisher import UrlOption, find_publisher
from clarion_cli.token import checked_user
from clarion_publisher.sources.http.answers import AllConnections, OrderReceipt, UserPresence

_READ: Final = "users:read"
_DISCONNECT: Final = "users:disconnect"

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


def users(user: UserArgument, publisher_url: UrlOption = None) -> None:
    """Show whether, where and since when a user is connected.

    Signs its own token with the local secret; CLARION_TOKEN names another one (users:read).
    """
    path = _path(user)
    answer = find_publisher(publisher_url, scope=_READ).ask("GET", path, UserPresence)
    print_result(msgspec.to_builtins(answer), _describe_user(answer))


def connections(publisher_url: UrlOption = None) -> None:
    """Show how many connections each gateway holds.

    Signs its own token with the local secret; CLARION_TOKEN names another one (users:read).
    """
    answer = find_publisher(publisher_url, scope=_READ).ask(
        "GET", "/v1/connections", AllConnections
    )
    print_result(msgspec.to_builtins(answer), _describe_connections(answer))


def disconnect(
    user: UserArgument,
    reason: Annotated[
        str | None, typer.Option(help="What the clients are told.", show_default=False)
    ] = None,
    bar: Annotated[bool, typer.Option("--bar", help="Tell them not to come back.")] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Also revoke the tokens that the user has by now.")
    ] = False,
    publisher_url: UrlOption = None,
) -> None:
    """Close all connections of a user, on every gateway.

    The clients come back by themselves, unless --bar says not to. Who must stay out needs --revoke,
    and an issuer that gives no fresh token.

    Signs its own token with the local secret; CLARION_TOKEN names another one (users:disconnect).
    """
    path = f"{_path(user)}/disconnect"
    order: dict[str, object] = {"reconnect": not bar, "revoke": revoke}
    if reason is not None:
        order["reason"] = reason
    answer = find_publisher(publisher_url, scope=_DISCONNECT).ask(
        "POST", path, OrderReceipt, body=msgspec.json.encode(order)
    )
    print_result(
        msgspec.to_builtins(answer),
        Text.assemble(
            ("disconnected ", "green"), user, f" on {_count(answer.gateways, 'gateway')}"
        ),
    )


def _path(user: str) -> str:
    return f"/v1/users/{quote(checked_user(user), safe='')}"


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
