"""`clarion types`: writes TypeScript types of events, messages and replies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clarion_cli.asyncapi import (
    CatalogueOption,
    HandlersOption,
    fetch_document,
    find_document,
    parse_document,
)
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import print_line
from clarion_cli.typescript.document import NotOfClarion, types_file


def types(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="An AsyncAPI document of Clarion: a file or a URL; - reads standard input.",
            show_default=False,
        ),
    ] = None,
    handlers: HandlersOption = None,
    catalogue: CatalogueOption = None,
) -> None:
    """Print TypeScript types of the events, messages and replies, for `@clarion/client`.

    Without SOURCE, --handlers and --catalogue, they are those of the running `clarion up`.

    Example: clarion types --handlers shop.live:handlers --catalogue events > src/events.ts
    """
    if source is not None:
        _check_alone(context)
    document = find_document(handlers, catalogue) if source is None else _read(source)
    try:
        text = types_file(document)
    except NotOfClarion as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    print_line(text.rstrip())


def _check_alone(context: typer.Context) -> None:
    """Refuse options that a document leaves without effect. Variables of the shell may stand."""
    for name in ("handlers", "catalogue"):
        given = context.get_parameter_source(name)
        if given is not None and given.name == "COMMANDLINE":
            raise Failure(
                f"expected SOURCE or --{name}, got both: a document has its own events",
                ExitCode.USAGE,
            )


def _read(source: str) -> dict[str, Any]:
    if source == "-":
        return parse_document(sys.stdin.buffer.read(), "standard input")
    if source.startswith(("http://", "https://")):
        return fetch_document(source)
    try:
        return parse_document(Path(source).read_bytes(), source)
    except OSError as error:
        raise Failure(f"{source}: {error.strerror}", ExitCode.USAGE) from None
