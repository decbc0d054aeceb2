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


class AskFailed(Refusal):
    """A client did not answer `Context.ask`.

    A handler may catch it. Otherwise the sender of the handler's message gets it as a refusal.

    Args:
        code: ``ask_timeout``, ``ask_closed`` (the connection has ended), ``ask_refused`` (the
            client cannot answer), ``ask_unsupported`` (nobody can answer on an event stream),
            ``ask_too_early`` (the client is not welcomed yet) or ``too_many_asks``.
    """
