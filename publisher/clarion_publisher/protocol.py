"""uvicorn's HTTP protocol, bounded: how large a head may be, how long a request may take to come.

Also answers in problem documents where no ASGI app runs yet, and serves requests that ask for an
upgrade as if they did not (RFC 9110, section 7.8): Java's own HTTP client asks for h2c with every
first request, and uvicorn with httptools would lose the body of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from clarion_publisher.sources.http.problems import (
    CONTENT_TYPE,
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    REQUEST_TIMEOUT,
    HttpRefusal,
)

# What a client may still send after it has been answered (413, 401), so that it can read the
# answer instead of a reset connection.
_DISCARDED_MAX_BYTES: Final = 16 << 20
_UPGRADE_HEADERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Bounds of one request."""

    head_max_bytes: int
    seconds: float


class BoundedHttpProtocol(HttpToolsProtocol):
    """One TCP connection."""

    limits: RequestLimits  # set on the subclass that `protocol_class` makes

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._in_head = True
        self._in_message = False
        self._discarded_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection on which nothing comes is closed like one on which nothing more comes."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or a refusal, ended the connection."""
        self._stop_deadline()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; then see whether the request stays within its bounds."""
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(HttpRefusal(MALFORMED_REQUEST, "expected an HTTP/1.1 request"))
            return
        if self._in_head and self._head_bytes > self.limits.head_max_bytes:
            self._refuse_head()
        elif self._in_message and self._deadline is None:
            # Most requests come in one piece and never get here.
            self._deadline = self.loop.call_later(self.limits.seconds, self._too_slow)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._in_message = True

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self.parser.should_upgrade():
            return  # `_feed` starts over
        most = self.limits.head_max_bytes
        if self._head_bytes > most and self._exact_head_bytes() > most:
            self._refuse_head()
            return
        super().on_headers_complete()  # raises where the URL is none
        self._in_head = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body, or of what an answered client still sends."""
        cycle = self._current()
        if cycle is None:
            return
        if cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _DISCARDED_MAX_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there; the next one gets bounds of its own."""
        if self.parser.should_upgrade():
            return
        self._in_message = False
        self._in_head = True
        self._head_bytes = 0
        self._discarded_bytes = 0
        self._stop_deadline()
        if self._current() is not None:
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)
            if rest:
                self.parser.feed_data(rest)

    def _head_without_upgrade(self) -> bytes:
        method: bytes = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("this is no proxy")
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % each for each in self.headers if each[0] not in _UPGRADE_HEADERS]
        return b"\r\n".join([*lines, b"", b""])

    def _exact_head_bytes(self) -> int:
        """Without the body that came in the same piece as the head's end."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_slow(self) -> None:
        self._deadline = None
        seconds = self.limits.seconds
        self._refuse(HttpRefusal(REQUEST_TIMEOUT, f"expected the request within {seconds:g} s"))

    def _refuse_head(self) -> None:
        most = self.limits.head_max_bytes
        self._refuse(
            HttpRefusal(HEAD_TOO_LARGE, f"expected a request head of at most {most} bytes")
        )

    def _refuse(self, refusal: HttpRefusal) -> None:
        """End the connection, with an answer where it cannot get into another one's way."""
        if self.transport.is_closing():
            return
        cycle = self._current()
        if self._in_head:
            free = cycle is None or cycle.response_complete
        else:
            free = cycle is not None and not cycle.response_started
        if free:
            headers = [
                *self.server_state.default_headers,
                (b"content-type", CONTENT_TYPE.encode()),
                (b"content-length", b"%d" % len(refusal.body)),
                (b"connection", b"close"),
            ]
            lines = [b"%b: %b\r\n" % header for header in headers]
            status = STATUS_LINE[refusal.row.status]
            self.transport.write(b"".join([status, *lines, b"\r\n", refusal.body]))
        self.transport.close()

    def _current(self) -> RequestResponseCycle | None:
        """The newest request that an app was started for."""
        return self.cycle

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def protocol_class(limits: RequestLimits) -> type[BoundedHttpProtocol]:
    """The protocol with its bounds, as uvicorn wants it: a class."""
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), {"limits": limits})
