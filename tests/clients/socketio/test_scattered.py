"""Unmodified clients over two gateways, each request at the other one: no sticky sessions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clarion_contract.events.audience import ALL, Audience
from tests.clients.balancer import scattered
from tests.clients.socketio.conftest import Drive
from tests.clients.socketio.test_node import HANDLERS
from tests.clients.socketio.test_polling import QUICK, TRANSPORTS
from tests.integration.pod import Pod, eventually, started, token
from tests.integration.poller import keyed


@pytest.fixture
async def pods(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Pod, Pod]]:
    (tmp_path / "scattered_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    options: dict[str, Any] = {"handlers": "scattered_handlers:handlers", "reachable": True}
    async with (
        started(redis_url, namespace, pod="pod-a", **options) as first,
        started(redis_url, namespace, pod="pod-b", **options) as second,
    ):
        await keyed(first)
        await keyed(second)
        yield first, second


@pytest.fixture(params=TRANSPORTS, ids=["polling only", "with an upgrade"])
def transports(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


async def settled(pods: tuple[Pod, Pod], transport: str) -> None:
    async def there() -> bool:
        return sum(pod.gateway.sessions.carriers[transport] for pod in pods) == 1

    await eventually(there, what=f"a session by {transport}")


async def passed_on(pods: tuple[Pod, Pod], kind: str) -> float:
    name = "clarion_socketio_hops_total"
    return sum([await pod.metric(name, kind=kind, outcome="passed_on") for pod in pods])


async def test_every_request_may_go_to_the_other_pod(
    drive: Drive, pods: tuple[Pod, Pod], transports: list[str]
) -> None:
    options = {"transports": transports, "auth": {"token": token("alice")}, **QUICK}
    async with scattered([pod.port for pod in pods]) as url, drive(url, **options) as alice:
        await alice.told("connect")
        for number in range(10):
            assert await alice.ask("echo", number) == [number]
        await settled(pods, transports[-1])
        assert await alice.ask("quiz", [6, 7]) == [{"answer": [6, 7]}]
        await alice.write(bytes=["echo", [1, 2, 255]])
        await alice.told("ack", name="echo", reply=["AQL/"])
        for number in range(100):
            await pods[number % 2].publish(Audience("user", "alice"), "mail", b"%d" % number)
        await pods[0].publish(ALL, "end")
        await alice.event("end")
        mails = [each["args"] for each in alice.reports if each.get("name") == "mail"]
        assert mails == [[number] for number in range(100)]
        assert sum(each["kind"] == "connect" for each in alice.reports) == 1
        assert await passed_on(pods, "request") > 0


async def test_python_socketio(
    drive_python: Drive, pods: tuple[Pod, Pod], transports: list[str]
) -> None:
    options = {"transports": transports, "auth": {"token": token("alice")}}
    async with scattered([pod.port for pod in pods]) as url, drive_python(url, **options) as alice:
        await alice.told("connect")
        for number in range(5):
            begin = len(alice.reports)
            await alice.write(ask=["echo", number])
            assert (await alice.told("ack", begin))["reply"] == [number]
        await settled(pods, transports[-1])
        await pods[0].publish(Audience("user", "alice"), "mail", b'"2"')
        assert await alice.event("mail") == ["2"]


async def test_sessions_of_a_pod_that_is_gone_come_back_elsewhere(
    drive: Drive, redis_url: str, namespace: str, transports: list[str]
) -> None:
    """Its requests reach the pod that remains, which knows the session no more."""
    options = {"transports": transports, "auth": {"token": token("alice")}, **QUICK}
    async with (
        contextlib.AsyncExitStack() as stack,
        started(redis_url, namespace, pod="pod-b", reachable=True) as second,
    ):
        first = await stack.enter_async_context(
            started(redis_url, namespace, pod="pod-a", reachable=True)
        )
        await keyed(first)
        await keyed(second)
        ports = [first.port, second.port]
        async with scattered(ports) as url, drive(url, **options) as alice:
            await alice.told("connect")
            begin = len(alice.reports)
            await stack.aclose()
            if len(second.gateway.sessions._hub) == 0:
                await alice.told("connect", begin)
            await second.publish(Audience("user", "alice"), "mail", b"1")
            await alice.event("mail")
