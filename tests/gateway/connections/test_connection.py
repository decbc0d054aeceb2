"""`clarion_gateway.connections.connection`: a connection is not its socket."""

from __future__ import annotations

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import NO_SOCKET, Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.delivery.fanout import plan
from clarion_gateway.wire.format import WireFormat
from clarion_gateway.wire.native import PLAIN
from clarion_gateway.wire.sse import SSE
from tests.gateway.recorder import event, messages_of


class Shared:
    """A transport that carries several connections, as Socket.IO's namespaces are carried."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed: list[tuple[Close, bytes]] = []

    def connect(self, wire_format: WireFormat) -> Connection:
        return Connection(wire_format, Part(self))


class Part:
    """The socket of one of them."""

    awaiting_pong = False
    unsent_bytes = 7
    is_reading = True

    def __init__(self, shared: Shared) -> None:
        self.write = shared.written.append
        self.shared = shared

    def ping(self) -> None: ...

    def cut(self, close: Close) -> None: ...

    async def drained(self) -> None: ...

    def close(self, close: Close, *, message: bytes = b"") -> None:
        self.shared.closed.append((close, message))

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def test_several_connections_on_one_transport_hear_each_their_own() -> None:
    hub, shared = Hub(), Shared()
    native, stream = shared.connect(PLAIN), shared.connect(SSE)
    assert native.id != stream.id
    hub.add(native)
    hub.add(stream, catching_up=True)
    assert hub.unsent_bytes == 14

    def deliver(id_: int) -> None:
        for payload, connections in plan([event(id_)], hub).batches:
            for connection in connections:
                connection.write(payload)

    deliver(1)
    assert shared.written == [PLAIN.event(event(1))]
    hub.go_live(stream)
    hub.remove(native)
    deliver(2)
    assert shared.written[1:] == [SSE.event(event(2))]


def test_a_client_that_is_sent_elsewhere_is_told_when_to_come_back() -> None:
    shared = Shared()
    shared.connect(PLAIN).send_elsewhere(close_codes.DRAINING)
    ((close, message),) = shared.closed
    assert close is close_codes.DRAINING
    (told,) = messages_of(message)
    assert (told["kind"], told["reason"]) == ("reconnect", "draining")


async def test_a_connection_whose_transport_is_gone_takes_everything() -> None:
    """A handshake under way may still write to it and close it."""
    connection = Connection(PLAIN, NO_SOCKET)
    assert connection.state is State.OPENING
    connection.write(b"welcome")
    connection.close(close_codes.UNAVAILABLE)
    connection.send_elsewhere(close_codes.DRAINING)
    await connection.socket.drained()
    connection.socket.ping()
    assert connection.socket.unsent_bytes == 0
