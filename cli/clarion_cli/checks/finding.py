"""One result of `clarion check`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from clarion_cli.failure import ExitCode


class Level(StrEnum):
    """The weight of a finding."""

    ERROR = "error"
    """Clarion would not start, or not work."""
    WARNING = "warning"
    """Clarion works, but perhaps not as you meant."""
    OK = "ok"
    """Something was tried and works."""


class Finding(msgspec.Struct, frozen=True):
    """One result.

    Attributes:
        about: the variable or server that it is about.
        services: whose settings it is about; empty for servers.
        code: the exit code if it is an error.
    """

    level: Level
    about: str
    message: str
    services: tuple[str, ...] = ()
    code: ExitCode = ExitCode.DONE


Report = Callable[[Finding], None]
"""Called with each finding."""


def wrong(about: str, message: str, *services: str, code: ExitCode = ExitCode.USAGE) -> Finding:
    """A finding that keeps Clarion from working."""
    return Finding(Level.ERROR, about, message, services, code)


def doubtful(about: str, message: str, *services: str) -> Finding:
    """A finding that may be meant."""
    return Finding(Level.WARNING, about, message, services)


def works(about: str, message: str) -> Finding:
    """Something that was tried and works."""
    return Finding(Level.OK, about, message)
