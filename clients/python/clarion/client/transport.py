"""The choice between a WebSocket and an event stream."""

from __future__ import annotations

import ssl
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final, Literal, get_args

from clarion.client.address import event_stream_url
from clarion.client.connection import Connection, End
from clarion.client.sse import by_event_stream
from clarion.client.websocket import UPGRADE_REQUIRED, by_websocket

Transport = Literal["websocket", "sse"]
Wish = Literal["auto", "websocket", "sse"]

# WebSockets in a row that something on the way seems to have blocked.
_BLOCKED_MAX: Final = 2
# Answers that no gateway gives at `/sse`. They decide nothing if a stream was a second try.
_NO_STREAM: Final = frozenset({404, 405, 426, "not_a_gateway"})


class Transports:
    """Chooses by how the connections before ended.

    Attributes:
        current: for the next connection.

    Args:
        wish: ``auto``: WebSockets, and event streams where these do not get through.
        tls: the TLS context; None: the system's.

    Raises:
        ValueError: the wish is another.
    """

    def __init__(self, wish: Wish, tls: ssl.SSLContext | None = None) -> None:
        if wish not in get_args(Wish):
            raise ValueError(f"expected the transport auto, websocket or sse, got {wish!r}")
        self._wish = wish
        self._tls = tls
        self._blocked = 0
        self.current: Transport = "sse" if wish == "sse" else "websocket"

    def open(self, url: str, token: str | None) -> AbstractAsyncContextManager[Connection]:
        """A connection by the current transport.

        Args:
            url: of the gateway's socket, with its query.
        """
        if self.current == "sse":
            return by_event_stream(event_stream_url(url), token, self._tls)
        return by_websocket(url, token, self._tls)

    def judge(self, end: End, *, was_open: bool) -> End:
        """Choose for the next connection; return the end as the client should take it."""
        if self._wish != "auto":
            return end
        if self.current == "sse":
            self._blocked = 0
            self.current = "sse" if was_open else "websocket"
            return replace(end, code=0) if end.code in _NO_STREAM else end
        self._blocked = self._blocked + 1 if end.blocked and not was_open else 0
        lost_upgrade = end.code == UPGRADE_REQUIRED
        if lost_upgrade or self._blocked >= _BLOCKED_MAX:
            self.current = "sse"
        return replace(end, code=0) if lost_upgrade else end
