"""`clarion asyncapi`: the AsyncAPI document of an application's handlers and declared events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import typer

from clarion_cli.application import load_handlers
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import print_line
from clarion_cli.state import find_state
from clarion_cli.up import check_handlers

_ANSWER_SECONDS = 10.0

HandlersOption = Annotated[
    str | None,
    typer.Option(
        envvar="GATEWAY_HANDLERS",
        metavar="MODULE:NAME",
        help="The application's handlers, imported from the current folder.",
        show_default=False,
    ),
]
CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        envvar="CLARION_CATALOGUE",
        metavar="PATH",
        help="The catalogue of declared events: a file or a directory.",
        show_default=False,
    ),
]


def asyncapi(
    handlers: HandlersOption = None,
    catalogue: CatalogueOption = None,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help="The title of the document.")
    ] = "Clarion gateway",
    api_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="The version of your interface. Default: that of Clarion."
        ),
    ] = None,
) -> None:
    """Print the AsyncAPI 3 document of the handlers and the declared events.

    Without --handlers and --catalogue, it is that of the running `clarion up`.

    Example: clarion asyncapi --handlers shop.live:handlers --catalogue events > asyncapi.json
    """
    found = find_document(handlers, catalogue, title=title, version=api_version)
    print_line(msgspec.json.format(msgspec.json.encode(found)).decode())


def find_document(
    handlers: str | None,
    catalogue: Path | None,
    *,
    title: str = "Clarion gateway",
    version: str | None = None,
) -> dict[str, Any]:
    """The document of these handlers and this catalogue; of neither: of the running `clarion up`.

    Raises:
        Failure: the handlers cannot be imported, the catalogue is none, or nothing runs.
    """
    if handlers is None and catalogue is None:
        gateway = find_state(Path.cwd()).addresses().gateways[0]
        return fetch_document(f"{gateway.rstrip('/')}/asyncapi.json")
    from clarion_contract.events.catalogue import (  # noqa: PLC0415 - slow, and rarely needed
        InvalidCatalogue,
    )
    from clarion_contract.service.declared_events import read_catalogue  # noqa: PLC0415
    from clarion_gateway.asyncapi.document import asyncapi_document  # noqa: PLC0415

    check_handlers(handlers or "")
    try:
        return asyncapi_document(
            None if handlers is None else load_handlers(handlers),
            None if catalogue is None else read_catalogue(catalogue),
            title=title,
            version=version,
        )
    except InvalidCatalogue as error:
        raise Failure(f"{error}; `clarion events check` shows all", ExitCode.USAGE) from None
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from None


def fetch_document(url: str) -> dict[str, Any]:
    """The document at a URL.

    Raises:
        Failure: nothing answers there, or it is no AsyncAPI document.
    """
    try:
        response = httpx.get(url, timeout=_ANSWER_SECONDS, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failure(f"{url}: {error or type(error).__name__}", ExitCode.UNREACHABLE) from None
    if response.status_code != httpx.codes.OK:
        raise Failure(
            f"{url} answered {response.status_code}; a gateway serves it in the profile dev only",
            ExitCode.REFUSED,
        )
    return parse_document(response.content, url)


def parse_document(text: bytes, where: str) -> dict[str, Any]:
    """An AsyncAPI document in JSON.

    Raises:
        Failure: it is something else.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict) or not str(found.get("asyncapi", "")).startswith("3."):
        raise Failure(f"expected an AsyncAPI 3 document in JSON: {where}", ExitCode.USAGE)
    return found
