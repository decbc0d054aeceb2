"""Shows errors of the application at its own lines, without the gateway's.

`clarion_gateway.clients` logs the errors that handlers raise, and a start that fails because of the
application says why in one line.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

# The application is called through these packages, whose lines say nothing about its error.
_CALLERS: Final = frozenset({"clarion", "clarion_gateway", "anyio", "asyncio", "contextlib"})


def in_one_line(error: BaseException) -> str:
    """The kind of an error and its text, without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def described(error: Exception) -> str:
    """An error in one line, with the line of the application that led to it."""
    step = _first_step(error)
    if step is None:
        return in_one_line(error)
    code = step.tb_frame.f_code
    return f"{in_one_line(error)} ({code.co_filename}:{step.tb_lineno})"


def at_the_applications_line(error: Exception) -> Exception:
    """The error with a traceback that begins at the first line of the application.

    An error without such a line, such as a reply without a JSON form, keeps its traceback.
    """
    step = _first_step(error)
    return error if step is None else error.with_traceback(step)


def place_of_import(error: BaseException) -> str:
    """The line that raised an error while a module was imported; empty if there is none."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]
        if "importlib" not in frame.filename
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _first_step(error: Exception) -> TracebackType | None:
    step = error.__traceback__
    while step is not None and _package(step) in _CALLERS:
        step = step.tb_next
    return step


def _package(step: TracebackType) -> str:
    return str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
