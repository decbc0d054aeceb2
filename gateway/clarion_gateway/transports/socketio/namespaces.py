"""The connections of one session to other namespaces than the main one.

Each is a `Connection` of its own, with an id and a token of its own, on the transport that it
shares with the others. It begins with a CONNECT for its namespace and ends with a DISCONNECT, or
with the session. A close that concerns more than one CONNECT ends the whole session: the client
comes back, and asks for its namespaces anew.
"""

from __future__ import annotations

from typing import Protocol

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import NO_SOCKET, Connection, State, discard
from clarion_gateway.wire.format import MAIN
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio.format import SocketIoFormat, answer_of, message_of
from clarion_gateway.wire.socketio.packets import Packet, PacketType


class Sharing(Protocol):
    """The session, as far as its namespaces use it."""

    def send(self, data: bytes) -> None:
        """Send frames to the client, in order with all others."""
        ...

    async def drained(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        ...

    @property
    def is_reading(self) -> bool:
        """See `clarion_gateway.connections.connection.Socket`."""
        ...

    def pause(self, namespace: str) -> None:
        """Read no more until this namespace, too, lets the session read."""
        ...

    def resume(self, namespace: str) -> None:
        """Read again, unless another namespace has paused reading."""
        ...

    def refuse(self, connection: Connection, close: Close) -> bool:
        """Tell the client that a CONNECT is refused; False: the session ends, or must end."""
        ...

    def cut(self, close: Close) -> None:
        """See `clarion_gateway.connections.connection.Connection.cut`."""
        ...

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """End the session."""
        ...

    def open(self, connection: Connection, packet: Packet) -> None:
        """Begin to admit a connection as its CONNECT asks."""
        ...

    def left(self) -> None:
        """A namespace has been left."""
        ...


class Namespace:
    """One connection to a namespace: its `Socket`."""

    __slots__ = ("_session", "_sides", "awaiting_pong", "connection", "format")

    # The session counts what it has not sent.
    unsent_bytes = 0

    def __init__(self, session: Sharing, sides: Namespaces, wire_format: SocketIoFormat) -> None:
        self.awaiting_pong = False
        self.format = wire_format
        self._session = session
        self._sides = sides
        self.connection = Connection(wire_format, self)

    @property
    def is_reading(self) -> bool:
        """See `clarion_gateway.connections.connection.Socket`."""
        return self._session.is_reading

    def write(self, data: bytes) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        self._session.send(data)

    def ping(self) -> None:
        """Do nothing: the session has a heartbeat of its own."""

    async def drained(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        await self._session.drained()

    def pause_reading(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        self._session.pause(self.format.namespace)

    def resume_reading(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        self._session.resume(self.format.namespace)

    def cut(self, close: Close) -> None:
        """See `clarion_gateway.connections.connection.Connection.cut`."""
        self._session.cut(close)

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `clarion_gateway.connections.connection.Connection.close`."""
        if self._session.refuse(self.connection, close):
            self._sides.leave(self, close)
        else:
            self._session.close(close, message=message)


class Namespaces:
    """The namespaces of a session; exists from the first CONNECT to one of them on.

    Attributes:
        paused: names of namespaces for which the session must not read.
    """

    __slots__ = ("_by_name", "_session", "_sessions", "paused")

    def __init__(self, sessions: Sessions, session: Sharing) -> None:
        self.paused = set() if session.is_reading else {MAIN}
        self._sessions = sessions
        self._session = session
        self._by_name: dict[str, Namespace] = {}

    def __bool__(self) -> bool:
        """Whether any of them is connected, or is about to be."""
        return bool(self._by_name)

    @property
    def must_wait(self) -> bool:
        """Whether nothing is to be taken from the client now: a CONNECT is being answered."""
        return any(each.connection.state is not State.LIVE for each in self._by_name.values())

    @property
    def disconnects(self) -> bytes:
        """The message that tells the client to stay away from each."""
        return b"".join(each.format.disconnect for each in self._by_name.values())

    def take(self, packet: Packet, size_bytes: int) -> None:
        """Take a whole packet for one of them, other than a CONNECT.

        Raises:
            Malformed: the client must not send it.
        """
        side = self._by_name.get(packet.namespace)
        if side is None:
            raise Malformed("expected a namespace that is connected")
        if packet.type is PacketType.DISCONNECT:
            self.leave(side, close_codes.NORMAL)
        elif packet.is_event:
            self._sessions.take(side.connection, message_of(packet), size_bytes)
        elif packet.type is PacketType.CONNECT_ERROR:
            raise Malformed("expected no CONNECT_ERROR from a client")
        else:
            self._sessions.take(side.connection, answer_of(packet), size_bytes)

    def connect(self, packet: Packet, wire_format: SocketIoFormat) -> None:
        """Take a CONNECT.

        Raises:
            Malformed: the namespace is connected already.
        """
        if packet.namespace in self._by_name:
            raise Malformed("expected one CONNECT for each namespace")
        side = self._by_name[packet.namespace] = Namespace(self._session, self, wire_format)
        self._session.open(side.connection, packet)

    def leave(self, side: Namespace, close: Close) -> None:
        """End one of them, and nothing else."""
        if self._by_name.pop(side.format.namespace, None) is None:
            return
        self._forget(side, close)
        self._session.left()
        self._session.resume(side.format.namespace)

    def end(self, close: Close) -> None:
        """End all of them: the session ends."""
        sides, self._by_name = self._by_name, {}
        for side in sides.values():
            self._forget(side, close)

    def _forget(self, side: Namespace, close: Close) -> None:
        connection = side.connection
        connection.write = discard
        self._sessions.ended(connection, close)
        connection.socket = NO_SOCKET
