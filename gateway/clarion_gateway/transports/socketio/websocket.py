"""The WebSocket that carries a session of Engine.IO: each message is a packet."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from websockets.frames import Frame

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio import requests
from clarion_gateway.transports.socketio.session import Session
from clarion_gateway.transports.websocket import WebSocket
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import Formats

_SID_BYTES: Final = 15


class SocketIoWebSocket(WebSocket):
    """One WebSocket, from its handshake on."""

    __slots__ = ("_is_binary", "_session")

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        super().__init__(sessions, transport)
        self._session: Session  # from `open` on
        self._is_binary = False

    def handshake(self, request: ConnectionRequest, formats: Formats) -> bytes | None:
        """See `TcpSocket`."""
        error = requests.refused(request)
        if error is not None:
            return requests.response(error, request.header("origin"))
        return super().handshake(request, formats)

    def open(self, request: ConnectionRequest) -> None:
        """Begin the session. The connection waits for its CONNECT."""
        self._transport.set_write_buffer_limits(high=self._sessions.behind_bytes)
        self._session = Session(self._sessions, self, self._connection, request)
        packet = self._session.handshake(secrets.token_urlsafe(_SID_BYTES), ())
        self._connection.write(frames.text(packet))

    # What comes in

    def _must_wait(self) -> bool:
        return self._session.must_wait

    def _held_bytes(self) -> int:
        return super()._held_bytes() + self._session.held_bytes

    def _binary(self, frame: Frame) -> None:
        self._is_binary = True
        self._part(frame)

    def _message(self, data: bytes) -> None:
        is_binary, self._is_binary = self._is_binary, False
        if is_binary:
            self._session.binary(data)
        else:
            self._session.text(data)

    # Carrier

    def carry(self, after: Connection) -> bool:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        if self._backlog is not None:
            # What waits is counted for the connection before, and takes memory until it is read.
            return False
        self._sessions.inbound.release(self._connection, self._kept_bytes)
        self._kept_bytes = 0
        self._connection = after
        return True

    def end(self, close: Close, *, message: bytes = b"") -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        self.close(close, message=message)

    def _end(self, close: Close) -> None:
        self._session.ended(close)

    def _drop_kept(self) -> None:
        self._session.drop_kept()
        super()._drop_kept()
