"""python-socketio's client, unmodified, on a real gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from clarion_contract.events.audience import ALL, Audience
from clarion_gateway.connections import close_codes
from tests.clients.socketio.conftest import Drive, Driven
from tests.integration.pod import Pod, started, token

HANDLERS = """
from clarion import Handlers

handlers = Handlers()

@handlers.on("echo")
def echo(data, context):
    return [data, context.user]
"""


@pytest.fixture
async def pod(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pod]:
    (tmp_path / "python_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    async with started(redis_url, namespace, handlers="python_handlers:handlers") as pod:
        yield pod


def connected(drive: Drive, pod: Pod, token: str) -> AbstractAsyncContextManager[Driven]:
    return drive(pod.url(""), transports=["websocket"], auth={"token": token})


async def test_events_and_acks(drive_python: Drive, pod: Pod) -> None:
    async with connected(drive_python, pod, token("alice")) as alice:
        connect = await alice.told("connect")
        assert connect["sid"] == pod.gateway.sessions._hub.of_user("alice")[0].id
        assert connect["transport"] == "websocket"
        await pod.publish(ALL, "tick", b'{"n":1}')
        await pod.publish(Audience("user", "alice"), "mail", b'"2"')
        assert await alice.event("tick") == [{"n": 1}]
        assert await alice.event("mail") == ["2"]
        assert await alice.ask("echo", {"a": 1}) == [[{"a": 1}, "alice"]]
        begin = len(alice.reports)
        await alice.write(bytes=["echo", [0, 1]])
        assert (await alice.told("ack", begin))["reply"] == [["AAE=", "alice"]]


async def test_a_bad_token_is_a_connection_error(drive_python: Drive, pod: Pod) -> None:
    async with connected(drive_python, pod, "nonsense") as client:
        error = await client.told("connect_error")
        assert error["data"]["data"] == {"code": "unauthenticated"}
        await client.told("failed")


async def test_a_closed_transport_brings_the_client_back(drive_python: Drive, pod: Pod) -> None:
    hub = pod.gateway.sessions._hub
    async with connected(drive_python, pod, token("alice")) as alice:
        await alice.told("connect")
        begin = len(alice.reports)
        hub.of_user("alice")[0].close(close_codes.EXPIRED)
        await alice.told("disconnect", begin)
        await alice.told("connect", begin)
        assert await alice.ask("echo") == [[None, "alice"]]
