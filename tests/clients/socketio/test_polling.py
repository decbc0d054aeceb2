"""Unmodified clients over long polling, alone and with an upgrade, on one gateway."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from clarion_contract.events.audience import ALL, Audience
from clarion_gateway.connections import close_codes
from tests.clients.socketio.conftest import Drive, Driven
from tests.clients.socketio.test_node import HANDLERS
from tests.integration.pod import Pod, eventually, started, token
from tests.integration.poller import keyed

TRANSPORTS = (["polling"], ["polling", "websocket"])
QUICK = {"reconnectionDelay": 50, "reconnectionDelayMax": 200}


@pytest.fixture
async def pod(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pod]:
    (tmp_path / "node_polling_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    handlers = "node_polling_handlers:handlers"
    async with started(redis_url, namespace, handlers=handlers) as pod:
        await keyed(pod)
        yield pod


@pytest.fixture(params=TRANSPORTS, ids=["polling only", "with an upgrade"])
def transports(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


def connected(
    drive: Drive, pod: Pod, transports: list[str], user: str | None = None, **options: Any
) -> AbstractAsyncContextManager[Driven]:
    auth = {} if user is None else {"token": token(user)}
    return drive(pod.url(""), **{"transports": transports, "auth": auth, **QUICK, **options})


async def settled(pod: Pod, transports: list[str], sessions: int = 1) -> None:
    """Wait until the clients are on the transport that they want."""

    async def there() -> bool:
        return pod.gateway.sessions.carriers[transports[-1]] == sessions

    await eventually(there, what=f"{sessions} sessions by {transports[-1]}")


async def test_events_emits_and_acks(drive: Drive, pod: Pod, transports: list[str]) -> None:
    async with connected(drive, pod, transports, "alice") as alice:
        connect = await alice.told("connect")
        assert connect["transport"] in transports
        assert await alice.ask("echo", {"a": [1, None, "ü"]}) == [{"a": [1, None, "ü"]}]
        await settled(pod, transports)
        assert await alice.ask("user") == ["alice"]
        assert await alice.ask("quiz", [6, 7]) == [{"answer": [6, 7]}]
        await alice.write(bytes=["echo", [1, 2, 255]])
        reply = (await alice.told("ack", name="echo", reply=["AQL/"]))["reply"]
        assert base64.b64decode(reply[0]) == bytes([1, 2, 255])
        await pod.publish(Audience("user", "alice"), "mail", b'[1,"\\u00e4"]')
        assert await alice.event("mail") == [[1, "ä"]]
        assert pod.gateway.sessions._hub.find(connect["sid"]) is not None


async def test_nothing_is_lost_and_all_in_order_while_it_upgrades(
    drive: Drive, pod: Pod, transports: list[str]
) -> None:
    async with connected(drive, pod, transports) as client:
        await client.told("connect")
        for number in range(300):
            await pod.publish(ALL, "tick", b"%d" % number)
        await pod.publish(ALL, "end")
        await client.event("end")
        ticks = [each["args"] for each in client.reports if each.get("name") == "tick"]
        assert ticks == [[number] for number in range(300)]
        await settled(pod, transports)


async def test_a_close_brings_the_client_back_and_a_barred_user_stays_away(
    drive: Drive, pod: Pod, transports: list[str]
) -> None:
    hub = pod.gateway.sessions._hub
    async with connected(drive, pod, transports, "alice") as client:
        await client.told("connect")
        await settled(pod, transports)
        begin = len(client.reports)
        hub.of_user("alice")[0].close(close_codes.EXPIRED)
        assert (await client.told("disconnect"))["reason"] == "transport close"
        await client.told("connect", begin)
        await settled(pod, transports)
        begin = len(client.reports)
        hub.of_user("alice")[0].close(close_codes.disconnected("enough", reconnect=False))
        assert (await client.told("disconnect", begin))["reason"] == "io server disconnect"


async def test_short_heartbeats_keep_a_quiet_client(
    drive: Drive, redis_url: str, namespace: str
) -> None:
    short = {"socketio_ping_interval_seconds": 0.3, "socketio_ping_timeout_seconds": 2}
    async with started(redis_url, namespace, **short) as pod:
        await keyed(pod)
        async with connected(drive, pod, ["polling"], reportPings=True) as client:
            await client.told("connect")
            for _ in range(10):
                await client.told("ping", len(client.reports))
            assert sum(each["kind"] == "connect" for each in client.reports) == 1


async def test_a_client_that_goes_is_gone(drive: Drive, pod: Pod, transports: list[str]) -> None:
    async with connected(drive, pod, transports) as client:
        await client.told("connect")
        await settled(pod, transports)
        await client.write(disconnect=None)
        assert (await client.told("disconnect"))["reason"] == "io client disconnect"

        async def gone() -> bool:
            return not pod.gateway.sessions.polled and not len(pod.gateway.sessions.heartbeats)

        await eventually(gone)


async def test_python_socketio(drive_python: Drive, pod: Pod, transports: list[str]) -> None:
    async with connected(drive_python, pod, transports, "alice") as alice:
        await alice.told("connect")
        assert await alice.ask("echo", {"a": 1}) == [{"a": 1}]
        await settled(pod, transports)
        await pod.publish(Audience("user", "alice"), "mail", b'"2"')
        assert await alice.event("mail") == ["2"]
        begin = len(alice.reports)
        await alice.write(bytes=["echo", [0, 1]])
        assert (await alice.told("ack", begin))["reply"] == ["AAE="]


async def test_clients_of_a_draining_pod_leave(
    drive: Drive, pod: Pod, transports: list[str]
) -> None:
    async with connected(drive, pod, transports) as client:
        await client.told("connect")
        await settled(pod, transports)
        draining = asyncio.create_task(pod.gateway.drain.run())
        assert (await client.told("disconnect"))["reason"] == "transport close"
        await draining
