"""The ends of a command: the exit codes, and the exception that ends it with one line."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """The exit codes of commands. docs/cli.md has the same table.

    Attributes:
        meaning: one line for people.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A code and its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "The command did what it was asked to do."
    FAILED = 1, "Something failed after it was started, for example a process of `clarion up`."
    USAGE = 2, "The command line is wrong: an unknown option, bad JSON, a bad URL or user id."
    UNREACHABLE = 3, "No publisher, gateway or Redis answers at that address."
    REFUSED = 4, "The service refused: the token, its scopes or the content. Do not repeat it."
    UNAVAILABLE = 5, "The service cannot do it now (429 or 5xx). Repeat it later."
    SETUP = 6, "This machine lacks something: a free port, a secret, a Redis server, a package."
    INTERRUPTED = 130, "Ctrl-C ended the command (128 + SIGINT)."
    READER_LEFT = 141, "The program that read the output ended, such as `head` (128 + SIGPIPE)."


class Failure(Exception):
    """A failure that the user can act on. The message is one line, without a traceback.

    Attributes:
        code: the command's exit code.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code
