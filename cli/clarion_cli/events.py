"""`clarion events`: checks a catalogue of declared events, or lists what it declares."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import JsonOption, Output

if TYPE_CHECKING:
    from clarion_contract.events.catalogue import Catalogue
    from clarion_contract.events.declaration import Declaration

_VARIABLE = "CLARION_CATALOGUE"


class Action(StrEnum):
    """The operations on the catalogue."""

    CHECK = "check"
    LIST = "list"


def events(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="What to do: check or list.")],
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help=f"The catalogue: a file or a directory. Default: {_VARIABLE}.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = None,
) -> ExitCode:
    """Check a catalogue of declared events, or list the events.

    `check` reports every mistake: schemas that are none, references that lead nowhere or out of the
    catalogue, a type that is declared twice, and examples that do not fit their own schema.
    """
    if path is None and os.environ.get(_VARIABLE):
        path = Path(os.environ[_VARIABLE])
    if path is None:
        raise Failure(f"expected a PATH, or {_VARIABLE}", ExitCode.USAGE)
    output = Output(json_)
    return _check(output, path) if action is Action.CHECK else _list(output, path)


def _check(output: Output, path: Path) -> ExitCode:
    catalogue, problems = _read(path)
    problems = problems or catalogue.wrong_examples()
    for problem in problems:
        output.result(
            {"kind": "problem", "message": problem},
            Text.assemble(("error   ", "bold red"), problem),
        )
    count = len(catalogue)
    record = {"kind": "checked", "events": count, "problems": len(problems)}
    output.result(record, Text(f"{count} declared, problems: {len(problems)}"))
    return ExitCode.USAGE if problems else ExitCode.DONE


def _list(output: Output, path: Path) -> ExitCode:
    catalogue, problems = _read(path)
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise Failure(f"{problems[0]}{more}", ExitCode.USAGE)
    for each in catalogue:
        output.result(_record(each), _line(each))
    return ExitCode.DONE


def _read(path: Path) -> tuple[Catalogue, list[str]]:
    """The catalogue, or an empty one and the reasons why it is none."""
    from clarion_contract.events.catalogue import (  # noqa: PLC0415 - slow, and rarely needed
        Catalogue,
        InvalidCatalogue,
    )
    from clarion_contract.service.declared_events import read_catalogue  # noqa: PLC0415

    try:
        return read_catalogue(path), []
    except InvalidCatalogue as error:
        return Catalogue(), error.problems


def _record(declaration: Declaration) -> dict[str, object]:
    return {
        "type": declaration.type,
        "audiences": list(declaration.audiences),
        "description": declaration.description,
        "deprecated": declaration.deprecated,
        "schema": declaration.schema,
        "examples": list(declaration.examples),
        "source": declaration.source,
    }


def _line(declaration: Declaration) -> Text:
    notes = ["deprecated"] if declaration.deprecated else []
    if declaration.audiences:
        notes.append(f"to {', '.join(declaration.audiences)}")
    if declaration.schema is None:
        notes.append("any data")
    about = f"  {declaration.description}" if declaration.description else ""
    return Text.assemble(
        (declaration.type, "bold"), (f"  ({'; '.join(notes)})" if notes else "", "dim"), about
    )
