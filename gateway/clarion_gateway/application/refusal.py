"""The exceptions by which an application says no to a client."""

from __future__ import annotations


class Refusal(Exception):
    """Raise it in a handler or an interceptor to refuse a message.

        raise Refusal("closed", "the room is closed")

    Args:
        code: for the client's program.
        message: for people. The sender gets both in an ``error``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
