"""Failures that a service's edges catch and log: for a fuzzer they are faults like any other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import structlog

from tests.fuzz.target import Broken

_SEVERE = {"error", "critical", "exception"}


class _Handler(logging.Handler):
    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(self.format(record))


@contextlib.contextmanager
def nothing_fails(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """No error in a log, no exception that reaches the event loop.

    Raises:
        Broken: at the end, with all that was found.
    """
    found: list[str] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        lines = traceback.format_exception(error) if error else []
        found.append("".join([context["message"], "\n", *lines]))

    def look(_: object, method: str, event: dict[str, Any]) -> Any:
        if method in _SEVERE:
            found.append(f"{event}\n{traceback.format_exc()}")
        raise structlog.DropEvent

    root, handler = logging.getLogger(), _Handler(found)
    kept = structlog.get_config()["processors"]
    loop.set_exception_handler(note)
    structlog.configure(processors=[look])
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        structlog.configure(processors=kept)
    if found:
        raise Broken("\n".join(found))
