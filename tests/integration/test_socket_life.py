"""`clarion_gateway.transports.socket` on real connections: what a round calls, and what a client
leaves behind.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import Connection
from clarion_gateway.transports.socket import TcpSocket
from tests.integration.pod import Pod, eventually
from tests.integration.sockets import opened, streamed


def held() -> list[object]:
    return [each for each in gc.get_objects() if issubclass(type(each), (Connection, TcpSocket))]


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_a_round_writes_to_the_transport_and_calls_nothing_else(pod: Pod) -> None:
    """The first write carries the response's head; from then on nothing stands between."""
    async with opened(pod), streamed(pod) as stream:
        await stream.welcomed()
        connections = list(pod.gateway.drain._hub.connections)
        assert len(connections) == 2
        for connection in connections:
            assert isinstance(connection.socket, TcpSocket)
            assert connection.write == connection.socket._transport.write


@pytest.mark.usefixtures("no_collector")
async def test_connections_and_sockets_are_freed_without_the_collector(pod: Pod) -> None:
    """So churn makes no work for it."""
    before = len(held())

    async def freed() -> bool:
        return len(held()) == before

    async with opened(pod) as client, streamed(pod) as stream:
        await client.send(kind="message", type="unknown")
        await client.receive("error")
        await stream.welcomed()
        assert len(held()) == before + 4
    await eventually(freed, what="those whose clients left are freed")

    async with opened(pod) as client, streamed(pod):
        for connection in list(pod.gateway.drain._hub.connections):
            connection.close(close_codes.DISCONNECTED)
        del connection  # it holds the last one
        await client.closed()
    await eventually(freed, what="those that the gateway closed are freed")
