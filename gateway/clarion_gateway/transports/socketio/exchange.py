"""One HTTP request of long polling, until it is answered. It needs no task."""

from __future__ import annotations

from typing import Final, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from clarion_contract.service.http_response import whole_response
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio.requests import JSON, readable
from clarion_gateway.wire.engineio.errors import EngineError

TEXT: Final = "text/plain; charset=UTF-8"


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


class Exchange:
    """A request and its answer.

    Attributes:
        method: in upper case.
        request: path, query and headers.
        carrier: the one that has the session; None: no session has it yet.
        held_bytes: memory of the body that counts for the carrier's connection.
    """

    __slots__ = ("_cycle", "carrier", "held_bytes", "method", "request")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        scope = cycle.scope
        self._cycle = cycle
        self.method: str = scope["method"]
        self.request = ConnectionRequest.decoded(
            scope["raw_path"], scope["query_string"], scope["headers"]
        )
        self.carrier: Awaiting | None = None
        self.held_bytes = 0

    @property
    def is_waiting(self) -> bool:
        """Whether there is a client that waits for the answer."""
        return not (self._cycle.response_complete or self._cycle.disconnected)

    @property
    def body_bytes(self) -> int:
        """The length of the body as far as it has come."""
        return len(self._cycle.body)

    def body(self) -> bytes:
        """Take the body."""
        body, self._cycle.body = bytes(self._cycle.body), bytearray()
        return body

    def belongs_to(self, cycle: RequestResponseCycle | None) -> bool:
        """Whether it is the exchange of that request."""
        return self._cycle is cycle

    def go_on(self) -> None:
        """Ask for the body, if the client waits for that (``Expect: 100-continue``)."""
        cycle = self._cycle
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            cycle.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

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
            headers = readable(self.request.header("origin"))
        keeps_alive = self._cycle.keep_alive
        self.write(whole_response(status, content_type, body, headers, keeps_alive=keeps_alive))

    def write(self, response: bytes) -> None:
        """Write a whole response, whose head says whether the TCP connection goes on."""
        cycle = self._cycle
        if not self.is_waiting:
            return
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(response)
        if not cycle.keep_alive:
            cycle.transport.close()
        on_response, cycle.on_response = cycle.on_response, _nothing  # breaks a cycle of references
        on_response()

    def refuse(self, error: EngineError) -> None:
        """Answer with an error of the protocol."""
        self.answer(error.body, status=error.status, content_type=JSON)

    def close_afterwards(self) -> None:
        """End the TCP connection with the answer."""
        self._cycle.keep_alive = False


def _nothing() -> None:
    """Do nothing."""
