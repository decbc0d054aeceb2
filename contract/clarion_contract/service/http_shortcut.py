"""Answers to requests that need no app: no ASGI scope, no task, no messages.

uvicorn's way from a request to its answer costs 20 µs of CPU, half of a small publish
(docs/decisions/0020-what-a-publish-costs.md). A `Shortcut` takes small requests that are alone on
their connection, and answers with one call. It leaves every other request, and every one that it
would refuse, to the app, so that each refusal is written in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

DefaultHeaders = Sequence[tuple[bytes, bytes]]


class Shortcut(Protocol):
    """Serves POSTs to some targets.

    Attributes:
        targets: paths without a query, as they stand in a request's line.
    """

    targets: Collection[bytes]

    def wants(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether to wait for the body of a request with this head. False: the app serves it."""
        ...

    def take(self, headers: Mapping[bytes, bytes], body: bytes, answer: ShortAnswer) -> bool:
        """Take a request, and call ``answer.send`` once, later. False: the app serves it.

        Args:
            headers: by name in lower case; none was repeated.
        """
        ...


class AnswerHeads:
    """The heads of answers up to the content's length, which are always the same for a second.

    uvicorn makes a new list of default headers whenever its ``date`` changes.
    """

    __slots__ = ("_defaults", "_made")

    def __init__(self) -> None:
        self._defaults: DefaultHeaders = ()
        self._made: dict[tuple[int, str], bytes] = {}

    def head(self, defaults: DefaultHeaders, status: int, content_type: str) -> bytes:
        """The head of an answer, up to the content's length."""
        if defaults is not self._defaults:
            self._defaults = defaults
            self._made.clear()
        made = self._made.get((status, content_type))
        if made is None:
            lines = [b"%b: %b\r\n" % header for header in defaults]
            kind = b"content-type: %b\r\ncontent-length: " % content_type.encode()
            made = b"".join([STATUS_LINE[status], *lines, kind])
            self._made[status, content_type] = made
        return made


class _NobodyWaits:
    """Stands for the event on which an app waits for a request's body."""

    def set(self) -> None:
        """Wake nobody."""


NOBODY_WAITS: Final = _NobodyWaits()


class Answering(Protocol):
    """The connection of an answer."""

    heads: AnswerHeads

    @property
    def default_headers(self) -> DefaultHeaders:
        """Headers of every answer."""
        ...

    def on_response_complete(self) -> None:
        """The answer is written."""


class ShortAnswer:
    """One request without an app, and its answer. Its connection uses it as uvicorn's cycle."""

    __slots__ = (
        "_connection",
        "disconnected",
        "keep_alive",
        "response_complete",
        "response_started",
        "transport",
    )

    message_event = NOBODY_WAITS

    def __init__(self, connection: Answering, transport: asyncio.Transport) -> None:
        self._connection = connection
        self.transport = transport
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    def send(
        self, status: int, content_type: str, body: bytes, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send the answer. If the client is gone, nothing happens.

        Args:
            headers: the answer's own, made by the service.
        """
        if self.disconnected:
            return
        connection = self._connection
        self.response_started = self.response_complete = True
        start = connection.heads.head(connection.default_headers, status, content_type)
        if headers or not self.keep_alive:
            lines = "".join([f"\r\n{name}: {value}" for name, value in headers])
            end = "" if self.keep_alive else "\r\nconnection: close"
            rest = f"{lines}{end}".encode("latin-1")
            self.transport.write(b"%b%d%b\r\n\r\n%b" % (start, len(body), rest, body))
        else:
            self.transport.write(b"%b%d\r\n\r\n%b" % (start, len(body), body))
        if not self.keep_alive:
            self.transport.close()
        connection.on_response_complete()
