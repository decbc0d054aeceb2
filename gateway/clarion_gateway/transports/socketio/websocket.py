"""The WebSocket that carries a session of Engine.IO: each message is a packet.

It begins a session, or takes one over from polling. Until it has, it *probes*, and the session goes
on by polling: `clarion_gateway.wire.engineio.polling`.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from websockets.frames import Frame

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import NO_SOCKET, Connection
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio import requests
from clarion_gateway.transports.socketio.polling import Polling, find
from clarion_gateway.transports.socketio.session import NO_CARRIER, Session
from clarion_gateway.transports.websocket import WebSocket
from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.polling import PROBE_ANSWER, Step
from clarion_gateway.wire.format import Formats

_SID_BYTES: Final = 15
_NO_PROBE: Final = close_codes.protocol_error("expected 2probe, then 5")
_SECOND: Final = close_codes.protocol_error("expected one WebSocket for each session")


class SocketIoWebSocket(WebSocket):
    """One WebSocket, from its handshake on."""

    __slots__ = ("_is_binary", "_polling", "_session")

    name = requests.WEBSOCKET

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        super().__init__(sessions, transport)
        self._session: Session | None = None  # None: it probes
        self._polling: Polling | None = None  # that it probes, or has taken over from
        self._is_binary = False

    @staticmethod
    def begins(request: ConnectionRequest) -> bool:
        """See `TcpSocket`."""
        return request.field("sid") is None

    def handshake(self, request: ConnectionRequest, formats: Formats) -> bytes | None:
        """See `TcpSocket`."""
        error, sid = requests.refused(request), request.field("sid")
        if error is None and sid is not None:
            self._polling = find(self._sessions, sid)
            error = None if self._polling else errors.UNKNOWN_SESSION
        if error is not None:
            self._sessions.metrics.engineio_refused.labels(error.label).inc()
            return requests.response(error, request.header("origin"))
        return super().handshake(request, formats)

    def open(self, request: ConnectionRequest) -> None:
        """Begin a session, whose connection waits for its CONNECT; or probe one."""
        self._transport.set_write_buffer_limits(high=self._sessions.behind_bytes)
        if self._polling is not None:
            self._probe(self._polling)
            return
        self._session = Session(self._sessions, self, self._connection, request)
        packet = self._session.handshake(secrets.token_urlsafe(_SID_BYTES), ())
        self._connection.write(frames.text(packet))

    # Upgrade

    def _probe(self, polling: Polling) -> None:
        self.write(b"")  # the head of the response: the client waits for it
        if not polling.probe(self):
            self._polling = None
            self.close(_SECOND)

    def _probed(self, polling: Polling, data: bytes) -> None:
        step = Step.FAIL if self._is_binary else polling.said(data)
        if step is Step.PROBE_ANSWER:
            self._connection.write(frames.text(PROBE_ANSWER))
        elif step is Step.MOVE:
            self._take_over(polling)
        else:
            self.close(_NO_PROBE)

    def _take_over(self, polling: Polling) -> None:
        before, self._connection = self._connection, polling.connection
        self._sessions.inbound.release(before, self._kept_bytes)
        self._kept_bytes = 0
        self._sessions.forget(before)
        before.socket = NO_SOCKET
        self._session = polling.session
        polling.move(self, self._transport.write)
        self._sessions.metrics.engineio_upgrades.labels("completed").inc()

    def abandon(self, close: Close) -> None:
        """See `clarion_gateway.transports.socketio.polling.Probing`."""
        self.close(close)

    # What comes in

    def _must_wait(self) -> bool:
        return self._session is not None and self._session.must_wait

    def _held_bytes(self) -> int:
        held_bytes = 0 if self._session is None else self._session.held_bytes
        return super()._held_bytes() + held_bytes

    def _binary(self, frame: Frame) -> None:
        self._is_binary = True
        self._part(frame)

    def _message(self, data: bytes) -> None:
        if self._session is None:
            if self._polling is not None:
                self._probed(self._polling, data)
            return
        is_binary, self._is_binary = self._is_binary, False
        if is_binary:
            self._session.binary(data)
        else:
            self._session.text(data)

    # Carrier

    def carry(self, after: Connection) -> bool:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        if self._backlog is not None:
            # Frames that wait count for the connection before, and take memory until they are read.
            return False
        self._sessions.inbound.release(self._connection, self._kept_bytes)
        self._kept_bytes = 0
        self._connection = after
        return True

    def end(self, close: Close, *, message: bytes = b"") -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        self.close(close, message=message)

    def _end(self, close: Close) -> None:
        polling, self._polling = self._polling, None
        if self._session is not None:
            self._session.ended(close)
            if polling is not None:
                polling.forget()
            return
        super()._end(close)
        if polling is not None:
            self._sessions.metrics.engineio_upgrades.labels("failed").inc()
            polling.probe_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `TcpSocket`."""
        super().connection_lost(exc)
        if self._session is not None:
            self._session.carrier = NO_CARRIER  # breaks the cycle, so that both are freed at once

    def _drop_kept(self) -> None:
        if self._session is not None:
            self._session.drop_kept()
        super()._drop_kept()
