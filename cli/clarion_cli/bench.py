"""`clarion bench`: hands its arguments to the package ``bench``, which needs an extra."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from clarion_cli.failure import Failure


def bench(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENTS]...", show_default=False)
    ] = None,
) -> None:
    """Measure Clarion on this machine."""
    try:
        app = importlib.import_module("clarion_bench.commands").app
    except ModuleNotFoundError as error:
        raise Failure(f"the benchmarks need {error.name}: pip install {error.name}") from None
    code = app(arguments or ["--help"], prog_name="clarion bench", standalone_mode=False)
    raise typer.Exit(code if isinstance(code, int) else 0)
