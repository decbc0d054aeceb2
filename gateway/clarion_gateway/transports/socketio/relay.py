"""Relays a WebSocket to the pod that has its session, byte for byte.

Each side stops reading while the other one takes no more, so a slow client is slow for the pod that
has its session, which bounds what waits for it.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socket import CLOSE_SECONDS
from clarion_gateway.transports.socketio import requests
from clarion_gateway.transports.socketio.hops import Hops
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError

# A relay holds so much for a slow side, beside the kernel's buffers.
_HIGH_BYTES: Final = 16_384


class Relay(asyncio.Protocol):
    """One side of a relayed WebSocket.

    Attributes:
        other: the other side; None: it is not there yet, or is gone.
        transport: of this side; None: the same.
    """

    def __init__(self, hops: Hops, transport: asyncio.Transport | None = None) -> None:
        self.other: Relay | None = None
        self._hops = hops
        self.transport = transport

    def begin(self, request: ConnectionRequest, mark: str, rest: bytes) -> None:
        """Lead the client's side, whose request this is, to the pod with a mark.

        Args:
            rest: bytes behind the request.
        """
        self._hops.relayed[self] = None
        if self._hops.is_closed:
            self._refuse(request, errors.UNAVAILABLE, "stopped")
            return
        if self.transport is not None:
            self.transport.pause_reading()
        self._hops.spawn(self._connect(request, mark, rest))

    async def _connect(self, request: ConnectionRequest, mark: str, rest: bytes) -> None:
        hops = self._hops
        head = hops.hop.request("GET", request.query, request.headers, upgrades=True)
        address = hops.addresses.known(mark) or await hops.addresses.find(mark)
        if self.transport is None or self.transport.is_closing():
            return
        far: Relay | None = None
        if head is not None and address is not None:
            if hops.links.is_full:
                self._refuse(request, errors.UNAVAILABLE, "full")
                return
            far = await hops.links.connect(address, lambda: Relay(hops))
        # The other pod may have closed the new connection again: it has no transport then.
        if head is None or far is None or far.transport is None:
            self._refuse(request, errors.UNKNOWN_SESSION, "lost")
        else:
            self._join(far, far.transport, head + rest)

    def _refuse(self, request: ConnectionRequest, error: EngineError, outcome: str) -> None:
        client = self.transport
        if client is not None and not client.is_closing():
            self._hops.count("upgrade", outcome)
            client.write(requests.response(error, request.header("origin")))
            client.close()

    def _join(self, far: Relay, pod: asyncio.Transport, first: bytes) -> None:
        client = self.transport
        if client is None or client.is_closing():
            far.abort()
            return
        self._hops.count("upgrade", "passed_on")
        self.other, far.other = far, self
        pod.write(first)
        client.resume_reading()

    def abort(self) -> None:
        """End this side."""
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> None:
        """End this side when what waits is sent, or after `CLOSE_SECONDS`; the other one follows.

        A pod that has vanished would take it never.
        """
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`: only the pod's side begins here."""
        self.transport = cast("asyncio.Transport", transport)
        self._hops.sessions.port.open += 1
        self.transport.set_write_buffer_limits(high=_HIGH_BYTES)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`: the other side gets what was written, and ends."""
        self._hops.sessions.port.open -= 1
        self._hops.relayed.pop(self, None)
        self.transport = None
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.close()
