"""`clarion conformance`: checks a server or a client against the protocol."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.text import Text

from clarion.client.address import websocket_url
from clarion.publisher import AsyncPublisher, PublishError
from clarion_cli.conformance.check import Check, Result, Subject, run_checks
from clarion_cli.conformance.client import CHECKS as CLIENT_CHECKS
from clarion_cli.conformance.server import CHECKS as SERVER_CHECKS
from clarion_cli.conformance.server import Server
from clarion_cli.conformance.stage import Client
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output
from clarion_cli.publisher import UrlOption, failure_of, find_publisher
from clarion_cli.state import find_state
from clarion_cli.token import make_signer

_SCOPE: Final = "publish:user publish:topic"
_COLOURS: Final = {"kept": "green", "broken": "bold red", "skipped": "yellow"}


def conformance(
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The server to check. Default: the first gateway of the running `clarion up`.",
            show_default=False,
        ),
    ] = None,
    client: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Check a client instead: a program that connects to CLARION_GATEWAY_URL and "
            "prints each event as a line of JSON with its id.",
            show_default=False,
        ),
    ] = None,
    publisher_url: UrlOption = None,
    json_: JsonOption = None,
) -> None:
    """Check that a server, or a client, keeps the protocol clarion.v1.

    For authors of servers, proxies and clients. The kit connects to a server as the user
    `conformance`, with tokens signed by the local secret, and publishes events to itself. For a
    client it plays the server.

    Example: clarion conformance --client "clarion tail --json"
    """
    output = Output(json_)
    if client is not None:
        if server is not None:
            raise Failure("--server and --client exclude each other", ExitCode.USAGE)
        subject = Client(_words(client))
        _report(asyncio.run(_run(CLIENT_CHECKS, subject, output)), CLIENT_CHECKS, "client")
        return
    state = find_state(Path.cwd())
    signer = make_signer(state)
    try:
        url = websocket_url(server or state.addresses().gateways[0])
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    found = find_publisher(publisher_url, scope=_SCOPE)

    async def run() -> int:
        async with AsyncPublisher(found.url, token=found.token, retry_seconds=5) as publisher:
            return await _run(SERVER_CHECKS, Server(url, signer, publisher), output)

    try:
        broken = asyncio.run(run())
    except PublishError as error:
        raise failure_of(error, found.url) from None
    _report(broken, SERVER_CHECKS, "server")


def _words(command: str) -> list[str]:
    """The words of a command line.

    Raises:
        Failure: there are none, or a quote has no end.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        said = f"expected a command line, got {command!r}: {error}"
        raise Failure(said, ExitCode.USAGE) from None
    if not words:
        raise Failure("expected a command line, got an empty one", ExitCode.USAGE)
    return words


async def _run(checks: Sequence[Check[Subject]], subject: Subject, output: Output) -> int:
    """Run checks, print each result, and count the broken rules."""
    broken = 0
    async for result in run_checks(checks, subject):
        output.result(msgspec.to_builtins(result), _describe(result))
        broken += result.outcome == "broken"
    return broken


def _report(broken: int, checks: Sequence[object], what: str) -> None:
    if broken:
        raise Failure(f"the {what} breaks {broken} of {len(checks)} rules")


def _describe(result: Result) -> Text:
    detail = f"\n         {result.detail} (docs/protocol.md, {result.section})"
    return Text.assemble(
        (f"{result.outcome:8} ", _COLOURS[result.outcome]),
        result.rule,
        detail if result.detail else "",
    )
