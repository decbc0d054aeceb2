"""One HTTP request of long polling, until it is answered. It needs no task and no ASGI scope."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol

from clarion_contract.service.http_response import whole_response
from clarion_contract.service.http_shortcut import NOBODY_WAITS
from clarion_gateway.transports.request import ConnectionRequest, fields_of
from clarion_gateway.transports.socketio.requests import JSON, readable
from clarion_gateway.wire.engineio.errors import EngineError

TEXT: Final = "text/plain; charset=UTF-8"
# Larger answers are made for each client, so that the cache stays small.
_SHARED_MAX_BYTES: Final = 16_384


class Awaiting(Protocol):
    """The carrier that an exchange belongs to."""

    def grown(self, exchange: Exchange) -> None:
        """More of its body has come."""
        ...

    def posted(self, exchange: Exchange) -> None:
        """All of it has come."""
        ...

    def broken(self, exchange: Exchange) -> None:
        """The client's side of the request is gone."""
        ...

    def stop(self) -> None:
        """The server stops."""
        ...


class Answering(Protocol):
    """The TCP connection of an exchange."""

    transport: asyncio.Transport

    def on_response_complete(self) -> None:
        """The answer is written."""


class Exchange:
    """A request and its answer. Its connection uses it as uvicorn's cycle.

    Attributes:
        method: in upper case.
        repeats_headers: whether a header came more than once.
        origin: of the page that sends the request.
        carrier: the one that has the session; None: no session has it yet.
        held_bytes: memory of the body that counts for the carrier's connection.
        keep_alive: whether another request may follow on the TCP connection.
        waiting_for_100_continue: whether the client waits for that before it sends the body.
        body: as far as it has come, and nobody has taken it.
        more_body: whether more of it is to come.
    """

    __slots__ = (
        "_connection", "_headers", "_request", "_target", "body", "carrier", "disconnected",
        "held_bytes", "keep_alive", "method", "more_body", "origin", "repeats_headers",
        "response_complete", "response_started", "transport", "waiting_for_100_continue",
    )  # fmt: skip

    message_event = NOBODY_WAITS

    def __init__(
        self,
        connection: Answering,
        method: str,
        target: tuple[bytes, bytes],
        headers: list[tuple[bytes, bytes]],
        by_name: Mapping[bytes, bytes],
    ) -> None:
        """Begin with the head.

        Args:
            connection: is told when the answer is written.
            target: path and query.
            headers: names in lower case, and values, in order.
            by_name: the same; of repeated ones the last.
        """
        self.transport = connection.transport
        self.method = method
        self.repeats_headers = len(by_name) < len(headers)
        self.carrier: Awaiting | None = None
        self.held_bytes = 0
        self.keep_alive = True
        self.waiting_for_100_continue = False
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self._connection: Answering | None = connection
        self._target = target
        self._headers = headers
        self._request: ConnectionRequest | None = None
        origin = by_name.get(b"origin")
        if origin is not None and self.repeats_headers:
            origin = next(value for name, value in headers if name == b"origin")
        self.origin = None if origin is None else origin.decode("latin-1")

    @property
    def request(self) -> ConnectionRequest:
        """Path, query and headers as text. A poll of the usual form does without most of it."""
        if self._request is None:
            self._request = ConnectionRequest.decoded(*self._target, self._headers)
        return self._request

    @property
    def fields(self) -> Mapping[str, str]:
        """The first value of each field in the query."""
        return fields_of(self._target[1].decode("latin-1"))

    def forget_head(self) -> None:
        """Free what the answer does not need, while a poll hangs."""
        self._target, self._headers, self._request = _NO_TARGET, [], None

    def again(self, connection: Answering) -> None:
        """The client has sent the same request once more, after the answer."""
        self.response_started = self.response_complete = False
        self._connection = connection

    def belongs_to(self, cycle: object) -> bool:
        """Whether it is the request that a connection has as its cycle."""
        return self is cycle

    @property
    def is_waiting(self) -> bool:
        """Whether there is a client that waits for the answer."""
        return not (self.response_complete or self.disconnected)

    def take_body(self) -> bytes:
        """Take what has come of the body."""
        body, self.body = bytes(self.body), bytearray()
        return body

    def go_on(self) -> None:
        """Ask for the body, if the client waits for that (``Expect: 100-continue``)."""
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: str = TEXT,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        """Write the whole response; nothing if the client is gone."""
        if headers is None:
            headers = readable(self.origin)
        keeps_alive = self.keep_alive
        self.write(whole_response(status, content_type, body, headers, keeps_alive=keeps_alive))

    def answer_poll(self, payload: bytes) -> None:
        """Write the response to a poll. Clients that hear the same get the same bytes."""
        make = _poll_answer if len(payload) <= _SHARED_MAX_BYTES else _poll_answer.__wrapped__
        self.write(make(payload, self.origin, self.keep_alive))

    def write(self, response: bytes) -> None:
        """Write a whole response, whose head says whether the TCP connection goes on."""
        connection, self._connection = self._connection, None  # breaks a cycle of references
        if self.response_complete or self.disconnected or connection is None:
            return
        self.waiting_for_100_continue = False
        self.response_started = self.response_complete = True
        self.transport.write(response)
        if not self.keep_alive:
            self.transport.close()
        connection.on_response_complete()

    def refuse(self, error: EngineError) -> None:
        """Answer with an error of the protocol."""
        self.answer(error.body, status=error.status, content_type=JSON)

    def lose(self) -> None:
        """The connection is gone. Breaks a cycle of references."""
        self._connection = None

    def close_afterwards(self) -> None:
        """End the TCP connection with the answer."""
        self.keep_alive = False


_NO_TARGET: Final = (b"", b"")


@lru_cache(maxsize=4)
def _poll_answer(payload: bytes, origin: str | None, keeps_alive: bool) -> bytes:
    return whole_response(200, TEXT, payload, readable(origin), keeps_alive=keeps_alive)
