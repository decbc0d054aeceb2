"""The one error that commands raise for people: it ends the command with one line."""

from __future__ import annotations


class Failure(Exception):
    """Something the person at the terminal can act on. The message is one line, no traceback.

    Attributes:
        exit_code: of the command.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
