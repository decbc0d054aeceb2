"""What a client leaves behind: nothing, and at once, so that churn makes no work for the collector."""

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


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_connections_and_sockets_are_freed_without_the_collector(pod: Pod) -> None:
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
