"""A session of Engine.IO that is a WebSocket from its beginning, with Socket.IO on it.

The session begins with the handshake of Engine.IO. The connection of the main namespace begins
with the client's CONNECT, and ends with its DISCONNECT or the session. Until then, and between two
of them, the session has a `Connection` that is not open: the next CONNECT opens it.

Decoding is sans I/O (`clarion_gateway.wire.engineio`, `clarion_gateway.wire.socketio`). From the
CONNECT on, events reach the client as they reach others: rounds write shared frames.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Final

from websockets.frames import Frame

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import NO_SOCKET, Connection, State, discard
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio import requests
from clarion_gateway.transports.socketio.auth import (
    asks_to_recover,
    opening_of,
    recovering_of,
)
from clarion_gateway.transports.websocket import WebSocket
from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio import packets as engine
from clarion_gateway.wire.engineio.heartbeat import Beat, Heartbeat
from clarion_gateway.wire.format import Formats
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio.assembly import Assembly
from clarion_gateway.wire.socketio.format import SOCKETIO, answer_of, invalid_namespace, message_of
from clarion_gateway.wire.socketio.packets import MAIN, Packet, PacketType

_SID_BYTES: Final = 15
_PING: Final = frames.text(b"%d" % engine.PacketType.PING)
# The refusals of admission after which the client must not come back by itself: it is told by
# CONNECT_ERROR. After all others the session ends, and the client comes back.
_TOLD: Final = frozenset(
    {
        close_codes.UNAUTHENTICATED.label,
        close_codes.REVOKED.label,
        close_codes.BARRED.label,
        close_codes.REFUSED.label,
        close_codes.INVALID_TOPIC.label,
        close_codes.TOO_MANY_TOPICS.label,
    }
)
# One session may be refused so often: each CONNECT costs the check of a token.
_REFUSED_MAX: Final = 10


class SocketIoWebSocket(WebSocket):
    """One session, from the handshake of its WebSocket on.

    Attributes:
        slot: its place among `clarion_gateway.connections.heartbeats`.
    """

    __slots__ = (
        "_assembly", "_connect_by", "_heartbeat", "_is_binary", "_is_connected", "_is_counted",
        "_refused", "_request", "slot",
    )  # fmt: skip

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        super().__init__(sessions, transport)
        self.slot = -1
        self._assembly = Assembly(sessions.settings.message_max_bytes)
        self._heartbeat: Heartbeat  # from `open` on
        self._request = b""
        self._connect_by = 0.0
        self._is_binary = False
        self._is_connected = False  # a CONNECT has come; its answer may still be due
        self._is_counted = False  # among the sessions without a connection
        self._refused = 0

    def handshake(self, request: ConnectionRequest, formats: Formats) -> bytes | None:
        """See `TcpSocket`."""
        error = requests.refused(request)
        if error is not None:
            return requests.response(error, request.header("origin"))
        return super().handshake(request, formats)

    def open(self, request: ConnectionRequest) -> None:
        """Begin the session. The connection waits for its CONNECT."""
        self._transport.set_write_buffer_limits(high=self._sessions.behind_bytes)
        self._request = request.packed()
        heartbeats = self._sessions.heartbeats
        now = asyncio.get_running_loop().time()
        self._heartbeat = Heartbeat(heartbeats.timing, now)
        self._await_connect(now)
        handshake = engine.Handshake(
            secrets.token_urlsafe(_SID_BYTES),
            (),
            heartbeats.timing.interval_seconds,
            heartbeats.timing.timeout_seconds,
            self._sessions.settings.message_max_bytes,
        )
        self._connection.write(frames.text(handshake.encode()))
        heartbeats.add(self, self._due_at)

    # Heartbeat

    @property
    def _due_at(self) -> float:
        due_at = self._heartbeat.due_at
        return due_at if self._is_connected else min(due_at, self._connect_by)

    def beat(self, now: float) -> float | None:
        """See `clarion_gateway.connections.heartbeats.Beating`."""
        if not self._is_connected and now >= self._connect_by:
            self.close(close_codes.NO_CONNECT)
            return None
        beat = self._heartbeat.beat(now, is_reading=self.is_reading)
        if beat is Beat.GIVE_UP:
            self.close(close_codes.KEEP_ALIVE)
            return None
        if beat is Beat.PING:
            self._connection.write(_PING)
        return self._due_at

    def ping(self) -> None:
        """Do nothing: the session has a heartbeat of its own."""

    # What comes in

    def _must_wait(self) -> bool:
        return self._is_connected and self._connection.state is not State.LIVE

    def _held_bytes(self) -> int:
        return super()._held_bytes() + self._assembly.held_bytes

    def _binary(self, frame: Frame) -> None:
        self._is_binary = True
        self._part(frame)

    def _message(self, data: bytes) -> None:
        is_binary, self._is_binary = self._is_binary, False
        try:
            if is_binary:
                self._take_binary(data)
            else:
                data.decode()  # parts of it are passed on without decoding them
                self._take_text(data)
        except Malformed as malformed:
            self._sessions.metrics.messages.labels("malformed").inc()
            self._end_session(close_codes.malformed(str(malformed)))
        except UnicodeDecodeError:
            self._sessions.metrics.messages.labels("invalid_text").inc()
            self._end_session(close_codes.INVALID_TEXT)

    def _take_text(self, data: bytes) -> None:
        packet = engine.decode(data)
        if packet.type is engine.PacketType.PONG:
            if not self._heartbeat.pong(asyncio.get_running_loop().time()):
                self._sessions.spend(self._connection)  # no ping asked for it
            return
        if packet.type is engine.PacketType.CLOSE:
            self._end_session(close_codes.NORMAL)
            return
        if packet.type is not engine.PacketType.MESSAGE:
            raise Malformed("expected a message, a pong or a close from the client")
        if self._sessions.spend(self._connection):
            self._take(self._assembly.text(packet.data), len(data))

    def _take_binary(self, data: bytes) -> None:
        if self._sessions.spend(self._connection):
            size_bytes = self._assembly.held_bytes + len(data)
            self._take(self._assembly.binary(data), size_bytes)

    def _take(self, packet: Packet | None, size_bytes: int) -> None:
        """Take a whole packet; None: parts of it are still to come."""
        if packet is None:
            return
        if packet.namespace != MAIN:
            if packet.type is not PacketType.CONNECT:
                raise Malformed("expected a namespace that is connected")
            self._connection.write(frames.text(invalid_namespace(packet.namespace)))
        elif packet.type is PacketType.CONNECT:
            self._connect(packet)
        elif not self._is_connected:
            raise Malformed("expected a CONNECT first")
        elif packet.type is PacketType.DISCONNECT:
            self._begin_anew(close_codes.NORMAL)
        elif packet.is_event:
            self._sessions.take(self._connection, message_of(packet), size_bytes)
        elif packet.type is PacketType.CONNECT_ERROR:
            raise Malformed("expected no CONNECT_ERROR from a client")
        else:
            self._sessions.take(self._connection, answer_of(packet), size_bytes)

    # The connection

    def _connect(self, packet: Packet) -> None:
        if self._is_connected:
            raise Malformed("expected one CONNECT for each namespace")
        self._is_connected = True
        self._uncount()
        refused = self._sessions.refuse_early()
        if refused is not None:
            self._end_session(refused)
            return
        request = ConnectionRequest.unpacked(self._request)
        try:
            opening = opening_of(packet.fields, request)
        except Refused as refused_token:
            self.close(refused_token.close)
            return
        sessions = self._sessions
        wanted = sessions.settings.socketio_recovery or asks_to_recover(packet.fields)
        if wanted and sessions.recovery.key is not None:
            self._connection.format = sessions.recoverable
            recovering = recovering_of(packet.fields, sessions.recovery)
            if recovering is not None:
                address = self._address(request)
                opening = replace(opening, recovering=recovering, address=address)
        sessions.open(self._connection, opening)

    def _begin_anew(self, close: Close) -> None:
        """End the connection but not the session: the client may send another CONNECT."""
        before = self._connection
        if self._backlog is not None:
            # What waits is counted for the connection that ends, and takes memory until it is read.
            self._end_session(close)
            return
        after = Connection(SOCKETIO, self)
        after.write = before.write
        self._sessions.succeed(before, after)
        self._sessions.inbound.release(before, self._kept_bytes)
        self._kept_bytes = 0
        self._connection = after
        self._sessions.ended(before, close)
        before.write = discard
        before.socket = NO_SOCKET
        self._is_connected = False
        self._await_connect(asyncio.get_running_loop().time())
        self.resume_reading()

    def _await_connect(self, now: float) -> None:
        """Give the client time for a CONNECT; the session counts as a connection meanwhile."""
        self._connect_by = now + self._sessions.settings.handshake_seconds
        self._is_counted = True
        self._sessions.unconnected += 1

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._sessions.unconnected -= 1

    # Socket

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`.

        A refused CONNECT ends the connection, and the client is told to stay away. Everything else
        ends the session, and the client comes back by itself, unless the user is barred.
        """
        if self._is_connected and self._connection.state is State.OPENING and close.label in _TOLD:
            self._refused += 1
            if self._refused < _REFUSED_MAX:
                self._connection.write(SOCKETIO.refused(close.label, close.reason))
                self._begin_anew(close)
                return
        if close.label == close_codes.BARRED.label:
            message += SOCKETIO.disconnect
        self._end_session(close, message=message)

    def _end_session(self, close: Close, *, message: bytes = b"") -> None:
        super().close(close, message=message)

    def _end(self, close: Close) -> None:
        super()._end(close)
        self._uncount()
        self._sessions.heartbeats.remove(self)

    def _drop_kept(self) -> None:
        self._assembly.drop()
        super()._drop_kept()
