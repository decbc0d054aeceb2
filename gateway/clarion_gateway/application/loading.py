"""Imports the application's handlers, and finds the application's own lines in its errors.

`clarion_gateway.app` loads the handlers at the start. `clarion_gateway.clients.inbox` logs the
errors that they raise.
"""

from __future__ import annotations

import importlib
import traceback
from types import TracebackType
from typing import Final

from clarion_gateway.application.handlers import Handlers

# A handler is called through these packages, whose lines say nothing about its error.
_CALLERS: Final = frozenset({"clarion_gateway", "anyio", "asyncio"})


def load(path: str) -> Handlers:
    """Import the handlers that ``package.module:name`` names.

    Raises:
        ValueError: the module cannot be imported, or it has no `Handlers` of that name.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"cannot import GATEWAY_HANDLERS={path}: {type(error).__name__}: {error}"
            f"{_place(error)}; `python -c 'import {module_name}'` shows the traceback"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Handlers):
        got = type(found).__name__ if hasattr(module, name) else "nothing of that name"
        raise ValueError(
            f"expected GATEWAY_HANDLERS={path} to name a clarion.Handlers object, got {got} in "
            f"{module.__file__ or module_name}"
        )
    return found


def _place(error: Exception) -> str:
    """The line of the application that raised an import error; empty if there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]
        if "importlib" not in frame.filename
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def at_the_applications_line(error: Exception) -> Exception:
    """The error with a traceback that begins at the first line of the application.

    An error without such a line, such as a reply without a JSON form, keeps its traceback.
    """
    step = error.__traceback__
    while step is not None and _package(step) in _CALLERS:
        step = step.tb_next
    return error if step is None else error.with_traceback(step)


def _package(step: TracebackType) -> str:
    return str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
