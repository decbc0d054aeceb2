"""The errors that end a client or a message."""

from __future__ import annotations


class Stop(Exception):
    """Raised by ``get_token`` to say that no token will come: the client closes."""


class ClosedError(Exception):
    """The client has closed and does not come back by itself.

    Attributes:
        reason: for people.
        code: a close code, an HTTP status, the label of an event stream's ``$error``, ``stopped``
            (by `Stop`), or ``not_a_gateway``.
    """

    def __init__(self, reason: str, code: int | str) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return self.reason


class RefusalError(Exception):
    """The gateway, or the application's handler, refused a message.

    Attributes:
        code: for programs: ``unknown_type``, ``invalid``, ``timeout``, … or the application's own.
        message: for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class NoAnswerError(Exception):
    """A message has no answer: the connection was lost, the time was up, or the client is closed.

    Attributes:
        sent: the message left, so the handler may have run.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
