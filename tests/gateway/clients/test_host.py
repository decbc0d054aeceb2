"""`clarion_gateway.clients.host`: what an application sends reaches one connection, in its time."""

from __future__ import annotations

from typing import cast

import pytest

from clarion_contract.bus.publish_queue import PublishQueue
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.connections.connection import State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.inbound import Inbound
from tests.gateway.recorder import Recorder, metrics


@pytest.fixture
def inbound() -> Inbound:
    return Inbound(10_000)


@pytest.fixture
def host(inbound: Inbound) -> GatewayHost:
    queue = cast("PublishQueue", None)
    return GatewayHost(queue, Asks(metrics(), max_per_connection=1), inbound)


async def test_a_live_connection_gets_it_at_once(host: GatewayHost) -> None:
    client, other = Recorder(), Recorder()
    hub = Hub()
    hub.add(client)
    hub.add(other)
    await host.send(client, "note", b'{"a":1}')
    assert client.messages == [{"kind": "message", "type": "note", "data": {"a": 1}}]
    assert other.messages == []


async def test_before_the_welcome_it_waits(host: GatewayHost, inbound: Inbound) -> None:
    client = Recorder()
    for number in (b"1", b"2"):
        await host.send(client, "note", number)
    assert client.written == []
    assert inbound.used_bytes > 0
    host.welcomed(client)
    host.welcomed(client)
    assert [message["data"] for message in client.messages] == [1, 2]
    assert inbound.used_bytes == 0


async def test_what_waits_takes_bounded_memory(host: GatewayHost, inbound: Inbound) -> None:
    client = Recorder()
    for _ in range(3):
        await host.send(client, "note", b'"%b"' % (b"x" * 4_000))
    assert client.closed_with is not None
    assert client.closed_with.label == "inbound_full"
    assert inbound.used_bytes == 0


async def test_a_connection_that_has_ended_gets_nothing(
    host: GatewayHost, inbound: Inbound
) -> None:
    client, left = Recorder(), Recorder()
    client.state = State.CLOSED
    client.write = lambda data: None
    await host.send(client, "note", b"1")
    await host.send(left, "note", b"1")
    host.forget(left)
    host.welcomed(left)
    assert (client.written, left.written) == ([], [])
    assert inbound.used_bytes == 0
