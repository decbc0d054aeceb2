"""`clarion bench`: passes its arguments to `clarion_bench`, which needs an extra."""

from __future__ import annotations

import importlib
from typing import Annotated, Final

import typer

from clarion_cli.failure import ExitCode, Failure

# The production image does not contain it.
_PACKAGE: Final = "clarion_bench"


def bench(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARGUMENTS]...",
            help="`clarion bench --help` lists the measurements.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure Clarion on this machine."""
    try:
        app = importlib.import_module(f"{_PACKAGE}.commands").app
    except ModuleNotFoundError as error:
        if error.name == _PACKAGE:
            raise Failure(
                "the benchmarks are not in this installation of Clarion", ExitCode.SETUP
            ) from None
        raise Failure(
            f"the benchmarks need the module {error.name}; Clarion's extra `bench` installs it",
            ExitCode.SETUP,
        ) from None
    code = app(arguments or ["--help"], prog_name="clarion bench", standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else ExitCode.DONE)
