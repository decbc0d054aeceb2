"""A session of Engine.IO with Socket.IO on it, whatever carries its messages.

The session begins with the handshake of Engine.IO. The connection of the main namespace begins
with the client's CONNECT, and ends with its DISCONNECT or the session. Until then, and between two
of them, the session has a `Connection` that is not open: the next CONNECT opens it. Those of other
namespaces stand in `clarion_gateway.transports.socketio.namespaces`.

A *carrier* is the transport below: `clarion_gateway.transports.socketio.websocket` or
`clarion_gateway.transports.socketio.polling`. Both take the frames that rounds write, so an upgrade
changes the carrier and nothing else. Decoding is sans I/O (`clarion_gateway.wire.engineio`,
`clarion_gateway.wire.socketio`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from msgspec.structs import replace

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import NO_SOCKET, Connection, State, discard
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socketio.auth import (
    asks_to_recover,
    has_pid,
    opening_of,
    recovering_of,
)
from clarion_gateway.transports.socketio.namespaces import Namespaces
from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio import packets as engine
from clarion_gateway.wire.engineio.heartbeat import Beat, Heartbeat
from clarion_gateway.wire.format import MAIN
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio.assembly import Assembly
from clarion_gateway.wire.socketio.format import SOCKETIO, answer_of, invalid_namespace, message_of
from clarion_gateway.wire.socketio.packets import Packet, PacketType

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
        close_codes.INVALID_LAST.label,
        close_codes.TOO_MANY_TOPICS.label,
    }
)
# One session may be refused so often: each CONNECT costs the check of a token.
_REFUSED_MAX: Final = 10


class Carrier(Protocol):
    """The transport below a session."""

    @property
    def name(self) -> str:
        """Name of the transport in the protocol."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """See `clarion_gateway.connections.connection.Socket`."""
        ...

    @property
    def is_reading(self) -> bool:
        """See `clarion_gateway.connections.connection.Socket`."""
        ...

    def write(self, data: bytes) -> None:
        """Send frames to the client (`clarion_gateway.wire.frames`)."""
        ...

    async def drained(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        ...

    def pause_reading(self) -> None:
        """Take no more messages for now."""
        ...

    def resume_reading(self) -> None:
        """Take messages again, those first that wait."""
        ...

    def carry(self, after: Connection) -> bool:
        """Count for another connection from now on; False: what waits still counts for the one."""
        ...

    def end(self, close: Close, *, message: bytes = b"") -> None:
        """Tell the client that the session ends, after some last frames; call `Session.ended`."""
        ...

    def cut(self, close: Close) -> None:
        """Drop what waits, and end the session at once; call `Session.ended`."""
        ...


class _NoCarrier:
    """The carrier of a session that has ended. It does nothing."""

    name = ""
    unsent_bytes = 0
    is_reading = False

    def write(self, data: bytes) -> None:
        """See `Carrier`."""

    async def drained(self) -> None:
        """See `Carrier`."""

    def pause_reading(self) -> None:
        """See `Carrier`."""

    def resume_reading(self) -> None:
        """See `Carrier`."""

    def carry(self, after: Connection) -> bool:  # noqa: ARG002
        """See `Carrier`."""
        return False

    def end(self, close: Close, *, message: bytes = b"") -> None:
        """See `Carrier`."""

    def cut(self, close: Close) -> None:
        """See `Carrier`."""


NO_CARRIER: Final[Carrier] = _NoCarrier()


class Session:
    """One session: the `Socket` of its connection.

    Attributes:
        awaiting_pong: always false; the session has a heartbeat of its own.
        carrier: the transport that carries it now.
        connection: the one that is open, or waits for its CONNECT.
        slot: its place among `clarion_gateway.connections.heartbeats`.
    """

    __slots__ = (
        "_assembly", "_connect_by", "_heartbeat", "_is_connected", "_is_counted", "_others",
        "_refused", "_request", "_sessions", "awaiting_pong", "carrier", "connection", "slot",
    )  # fmt: skip

    def __init__(
        self,
        sessions: Sessions,
        carrier: Carrier,
        connection: Connection,
        request: ConnectionRequest,
    ) -> None:
        """Begin; the connection waits for its CONNECT.

        Args:
            connection: a new one; the session becomes its socket.
            request: the one that has begun the session.
        """
        now = asyncio.get_running_loop().time()
        self.awaiting_pong = False
        self.carrier = carrier
        self.connection = connection
        self.slot = -1
        self._sessions = sessions
        self._request = request.packed()
        self._assembly = Assembly(sessions.settings.message_max_bytes)
        self._heartbeat = Heartbeat(sessions.heartbeats.timing, now)
        self._connect_by = 0.0
        self._is_connected = False  # a CONNECT has come; its answer may still be due
        self._is_counted = False  # among the sessions without a connection
        self._others: Namespaces | None = None  # since a CONNECT to one of them
        self._refused = 0
        connection.socket = self
        self._await_connect(now)
        sessions.heartbeats.add(self, self._due_at)
        sessions.carriers[carrier.name] += 1

    def handshake(self, sid: str, upgrades: tuple[str, ...]) -> bytes:
        """The packet that opens the session.

        Args:
            sid: a secret, by which requests name the session.
            upgrades: names of the carriers that the client may change to.
        """
        timing = self._sessions.heartbeats.timing
        return engine.Handshake(
            sid,
            upgrades,
            timing.interval_seconds,
            timing.timeout_seconds,
            self._sessions.settings.message_max_bytes,
        ).encode()

    # Heartbeat

    @property
    def _due_at(self) -> float:
        due_at = self._heartbeat.due_at
        return min(due_at, self._connect_by) if self._is_counted else due_at

    def beat(self, now: float) -> float | None:
        """See `clarion_gateway.connections.heartbeats.Beating`."""
        if self._is_counted and now >= self._connect_by:
            self.close(close_codes.NO_CONNECT)
            return None
        beat = self._heartbeat.beat(now, is_reading=self.is_reading)
        if beat is Beat.GIVE_UP:
            self.close(close_codes.KEEP_ALIVE)
            return None
        if beat is Beat.PING:
            self.connection.write(_PING)
        return self._due_at

    # What comes in

    @property
    def must_wait(self) -> bool:
        """Whether nothing is to be taken from the client now: a CONNECT is being answered."""
        if self._is_connected and self.connection.state is not State.LIVE:
            return True
        return self._others is not None and self._others.must_wait

    @property
    def held_bytes(self) -> int:
        """Memory of a packet whose attachments have not come."""
        return self._assembly.held_bytes

    def text(self, data: bytes) -> None:
        """Take a packet that came as text."""
        try:
            data.decode()  # parts of it are passed on without decoding them
            self._take_packet(engine.decode(data))
        except Malformed as malformed:
            self._malformed(malformed)
        except UnicodeDecodeError:
            self.invalid_text()

    def binary(self, data: bytes) -> None:
        """Take a message that came as bytes."""
        try:
            self._take_packet(engine.Packet(engine.PacketType.MESSAGE, data, True))
        except Malformed as malformed:
            self._malformed(malformed)

    def take_next(self, packets: Iterator[engine.Packet]) -> bool:
        """Take the next one of some packets, whose text is valid UTF-8; says whether there was one.

        A packet that the client must not send ends the session.
        """
        try:
            packet = next(packets, None)
            if packet is None:
                return False
            self._take_packet(packet)
        except Malformed as malformed:
            self._malformed(malformed)
        return True

    def invalid_text(self) -> None:
        """End the session, since the client has sent text that is no UTF-8."""
        self._sessions.metrics.messages.labels("invalid_text").inc()
        self.carrier.end(close_codes.INVALID_TEXT)

    def _malformed(self, malformed: Malformed) -> None:
        self._sessions.metrics.messages.labels("malformed").inc()
        self.carrier.end(close_codes.malformed(str(malformed)))

    def _take_packet(self, packet: engine.Packet) -> None:
        if packet.binary:
            if self._sessions.spend(self.connection):
                size_bytes = self._assembly.held_bytes + len(packet.data)
                self._take(self._assembly.binary(packet.data), size_bytes)
            return
        if packet.type is engine.PacketType.PONG:
            if not self._heartbeat.pong(asyncio.get_running_loop().time()):
                self._sessions.spend(self.connection)  # no ping asked for it
            return
        if packet.type is engine.PacketType.CLOSE:
            self.carrier.end(close_codes.NORMAL)
            return
        if packet.type is not engine.PacketType.MESSAGE:
            raise Malformed("expected a message, a pong or a close from the client")
        if self._sessions.spend(self.connection):
            self._take(self._assembly.text(packet.data), len(packet.data))

    def _take(self, packet: Packet | None, size_bytes: int) -> None:
        """Take a whole packet; None: parts of it are still to come."""
        if packet is None:
            return
        if packet.namespace != MAIN:
            self._take_other(packet, size_bytes)
        elif packet.type is PacketType.CONNECT:
            self._connect(packet)
        elif not self._is_connected:
            raise Malformed("expected a CONNECT first")
        elif packet.type is PacketType.DISCONNECT:
            self._begin_anew(close_codes.NORMAL)
        elif packet.is_event:
            self._sessions.take(self.connection, message_of(packet), size_bytes)
        elif packet.type is PacketType.CONNECT_ERROR:
            raise Malformed("expected no CONNECT_ERROR from a client")
        else:
            self._sessions.take(self.connection, answer_of(packet), size_bytes)

    def _take_other(self, packet: Packet, size_bytes: int) -> None:
        """Take a packet for another namespace. No state is made for one that there is not."""
        if packet.type is PacketType.CONNECT:
            wire_format = self._sessions.namespaces.get(packet.namespace)
            if wire_format is None:
                self.connection.write(frames.text(invalid_namespace(packet.namespace)))
                return
            if self._others is None:
                self._others = Namespaces(self._sessions, self)
            self._others.connect(packet, wire_format)
        elif self._others is None:
            raise Malformed("expected a namespace that is connected")
        else:
            self._others.take(packet, size_bytes)

    # The connection

    def _connect(self, packet: Packet) -> None:
        if self._is_connected:
            raise Malformed("expected one CONNECT for each namespace")
        self._is_connected = True
        self.open(self.connection, packet)

    def open(self, connection: Connection, packet: Packet) -> None:
        """Begin to admit a connection as its CONNECT asks."""
        self._uncount()
        sessions = self._sessions
        request = ConnectionRequest.unpacked(self._request)
        refused = sessions.refuse_early(request.address)
        if refused is not None:
            self.carrier.end(refused)
            return
        try:
            opening = opening_of(packet.fields, request)
        except Refused as refused_token:
            connection.close(refused_token.close)
            return
        if connection is not self.connection:  # it has topics of its own, and does not recover
            sessions.open(connection, replace(opening, topics=()))
            return
        wanted = sessions.settings.socketio_recovery or asks_to_recover(packet.fields)
        if wanted and sessions.recovery.key is None and has_pid(packet.fields):
            # The pod has just begun, and cannot read a pid yet. The client comes back with it.
            self.carrier.end(close_codes.UNAVAILABLE)
            return
        if wanted and sessions.recovery.key is not None:
            self.connection.format = sessions.recoverable
            recovering = recovering_of(packet.fields, sessions.recovery)
            if recovering is not None:
                opening = replace(opening, recovering=recovering)
        sessions.open(self.connection, opening)

    def _begin_anew(self, close: Close) -> None:
        """End the connection but not the session: the client may send another CONNECT."""
        before = self.connection
        after = Connection(SOCKETIO, self)
        after.write = before.write
        if not self.carrier.carry(after):
            self.carrier.end(close)
            return
        self._sessions.succeed(before, after)
        self.connection = after
        self._sessions.ended(before, close)
        before.write = discard
        before.socket = NO_SOCKET
        self._is_connected = False
        self.left()
        self.resume_reading()

    def left(self) -> None:
        """A namespace has been left: without another one, the client has time for a CONNECT."""
        if not (self._is_connected or self._others or self._is_counted):
            self._await_connect(asyncio.get_running_loop().time())

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

    @property
    def unsent_bytes(self) -> int:
        """See `clarion_gateway.connections.connection.Socket`."""
        return self.carrier.unsent_bytes

    @property
    def is_reading(self) -> bool:
        """See `clarion_gateway.connections.connection.Socket`."""
        return self.carrier.is_reading

    def write(self, data: bytes) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        self.carrier.write(data)

    def ping(self) -> None:
        """Do nothing: the session has a heartbeat of its own."""

    async def drained(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        await self.carrier.drained()

    def pause_reading(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        self.pause(MAIN)

    def resume_reading(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        self.resume(MAIN)

    def send(self, data: bytes) -> None:
        """Send frames of another namespace, in order with those of the main one."""
        self.connection.write(data)

    def pause(self, namespace: str) -> None:
        """Read no more until this namespace, too, lets the session read."""
        if self._others is not None:
            self._others.paused.add(namespace)
        self.carrier.pause_reading()

    def resume(self, namespace: str) -> None:
        """Read again, unless another namespace has paused reading."""
        if self._others is not None:
            self._others.paused.discard(namespace)
            if self._others.paused:
                return
        self.carrier.resume_reading()

    def cut(self, close: Close) -> None:
        """See `clarion_gateway.connections.connection.Connection.cut`."""
        self.carrier.cut(close)

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `clarion_gateway.connections.connection.Connection.close`.

        A refused CONNECT ends the connection, and the client is told to stay away. Everything else
        ends the session, and the client comes back by itself, unless the user is barred.
        """
        if self._is_connected and self.refuse(self.connection, close):
            self._begin_anew(close)
            return
        if close.label == close_codes.BARRED.label:
            message += SOCKETIO.disconnect
            message += b"" if self._others is None else self._others.disconnects
        self.carrier.end(close, message=message)

    def refuse(self, connection: Connection, close: Close) -> bool:
        """Tell the client that a CONNECT is refused; False: the session must end in its place."""
        if connection.state is not State.OPENING or close.label not in _TOLD:
            return False
        self._refused += 1
        if self._refused >= _REFUSED_MAX:
            return False
        wire_format = self._sessions.namespaces.get(connection.format.namespace, SOCKETIO)
        self.connection.write(wire_format.refused(close.label, close.reason))
        return True

    def ended(self, close: Close) -> None:
        """Forget the session, and count the close. Carriers call it, maybe more than once."""
        self.connection.write = discard
        self._sessions.ended(self.connection, close)
        if self._others is not None:
            self._others.end(close)
        self._uncount()
        if self.slot >= 0:  # the first call
            self._sessions.carriers[self.carrier.name] -= 1
        self._sessions.heartbeats.remove(self)

    def move(self, carrier: Carrier, write: Callable[[bytes], None]) -> None:
        """Let another carrier carry the session from here on.

        Args:
            write: sends frames on it.
        """
        self._sessions.carriers[self.carrier.name] -= 1
        self._sessions.carriers[carrier.name] += 1
        self.carrier = carrier
        self.connection.write = write

    def drop_kept(self) -> None:
        """Drop the packet that is not whole."""
        self._assembly.drop()
