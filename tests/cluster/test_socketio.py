"""Clients of Socket.IO, unmodified, on two pods of a cluster whose NetworkPolicies are on.

Each request of a client goes to the other pod. The clients run here, and reach each pod through
`kubectl port-forward`, whatever way in the cluster has. Pods reach each other as they always do:
over the internal port, past the policies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chart.helm import Object
from tests.clients.balancer import scattered
from tests.clients.socketio.conftest import MODULES, Driven, driving, folder
from tests.cluster.cluster import MINUTE, WITNESS, Cluster, eventually
from tests.cluster.conftest import namespace_of_release
from tests.integration.pod import token

pytestmark = pytest.mark.timeout(20 * MINUTE)

HANDLERS = """
import socket

from clarion import ALL, Handlers

handlers = Handlers()

@handlers.on("tell")
async def tell(data, context):
    for number in range(*data):
        await context.publish(ALL, "mail", number)

@handlers.on("where")
def where(data, context):
    return socket.gethostname()

@handlers.on("echo")
def echo(data, context):
    return data

@handlers.on("quiz")
async def quiz(data, context):
    return await context.ask("question", data)

@handlers.on("photo")
async def photo(data: list[bytes], context):
    await context.send("photo", {"n": 1}, data[0], "end")
    return {"bits": data[0] + data[1]}
"""
VALUES: Object = {
    "networkPolicy": {"enabled": True},
    "gateway": {
        "replicas": 2,
        "handlers": {"name": "chat:handlers", "files": {"chat.py": HANDLERS}},
        "settings": {"GATEWAY_HANDSHAKE_SECONDS": 60},  # a session waits while kubectl works
    },
}
WALLED = "walled"
TRANSPORTS = (["polling"], ["polling", "websocket"])
PUBLISHED = 100

LISTENS = "python -m http.server 8000 --directory /tmp >/dev/null 2>&1 &"
NOBODY: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": WALLED},
    "spec": {
        "podSelector": {"matchLabels": {"clarion-test": WALLED}},
        "policyTypes": ["Ingress"],
    },
}
METRICS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9090/metrics").read().decode())
"""
REACHES = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("yes")
except OSError:
    print("no")
"""
ASKS = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"x-clarion-hop": sys.argv[2]})
try:
    print(urllib.request.urlopen(request, timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


__all__ = ["folder"]  # a fixture


@pytest.fixture(scope="module")
def walled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A release with two gateways behind policies that the cluster enforces, and a witness that no
    policy knows."""
    with namespace_of_release(tmp_path_factory.mktemp("walled")) as cluster:
        cluster.install(more=VALUES)
        cluster.call_witness()
        cluster.call_witness(WALLED)
        if not enforces(cluster):
            pytest.skip("the cluster has no network plugin that enforces NetworkPolicies")
        yield cluster


def enforces(cluster: Cluster) -> bool:
    """Whether a policy that lets nobody in keeps the witness out of another pod."""
    (pod,) = cluster.get("pods", "--selector", f"clarion-test={WALLED}")["items"]
    ip = pod["status"]["podIP"]
    cluster.run("exec", WALLED, "--", "sh", "-c", LISTENS)
    eventually(
        lambda: reaches(cluster, WITNESS, ip, 8000),
        seconds=MINUTE,
        what=lambda: "a pod that reaches another one",
    )
    cluster.apply(NOBODY)
    deadline = time.monotonic() + MINUTE / 2
    while reaches(cluster, WITNESS, ip, 8000):
        if time.monotonic() > deadline:
            return False
    return True


def reaches(cluster: Cluster, pod: str, ip: str, port: int) -> bool:
    """Whether a pod opens a TCP connection to another one."""
    return cluster.python(pod, REACHES, ip, str(port)) == "yes"


def names(cluster: Cluster, component: str) -> list[str]:
    """Of the pods that stay, when the roll-out is over."""
    cluster.rolled_out()
    return [pod["metadata"]["name"] for pod in cluster.pods(component)]


def passed_on(cluster: Cluster) -> float:
    """The number of requests and upgrades that the gateways have passed on."""
    metrics = "".join(cluster.python(pod, METRICS) for pod in names(cluster, "gateway"))
    return sum(float(count) for count in re.findall(r'hops_total{.*"passed_on".*} (.+)', metrics))


def direct(ports: dict[str, int], place: int) -> str:
    """The address of one gateway, without a balancer."""
    return f"http://127.0.0.1:{list(ports.values())[place]}"


async def mails(client: Driven, number: int) -> None:
    """Wait until a client has received so many events: each once, and in order."""

    def is_last(report: dict[str, Any]) -> bool:
        return report.get("name") == "mail" and report["args"][0] == number - 1

    await client.reported(is_last)
    came = [report["args"][0] for report in client.reports if report.get("name") == "mail"]
    assert came == list(range(number))


@pytest.fixture
def ports(walled: Cluster) -> Iterator[dict[str, int]]:
    """Ports of this host that lead to the public ports of the gateways, by their names."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(walled.forwarded(name, 8000))
            for name in names(walled, "gateway")
        }


@pytest.fixture(params=TRANSPORTS, ids=["polling only", "with an upgrade"])
def transports(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


Connect = Callable[..., contextlib.AbstractAsyncContextManager[Driven]]


@pytest.fixture
def connect(folder: Path) -> Connect:
    """Run socket.io-client in Node, and stop it at the end."""

    def connect(url: str, module: str = MODULES[0], **options: Any) -> Any:
        quick = {"reconnectionDelay": 100, "reconnectionDelayMax": 500}
        return driving(("node", "driver.mjs"), folder, module, url, **quick, **options)

    return connect


@pytest.mark.parametrize("module", MODULES)
async def test_every_request_may_go_to_the_other_pod(
    walled: Cluster, connect: Connect, ports: dict[str, int], transports: list[str], module: str
) -> None:
    before = passed_on(walled)
    auth = {"token": token("alice")}
    async with (
        scattered(list(ports.values())) as url,
        connect(url, module, auth=auth, transports=transports) as alice,
        connect(direct(ports, 0), transports=["websocket"]) as bob,
    ):
        await alice.told("connect")
        if len(transports) > 1:
            await alice.reported(lambda report: report.get("transport") == "websocket")
        await bob.told("connect")
        for number in range(10):
            assert await alice.ask("echo", number) == [number]
        assert await alice.ask("quiz", [6, 7]) == [{"answer": [6, 7]}]
        await alice.write(bytes=["photo", [1, 2], [255]])
        (reply,) = (await alice.told("ack", name="photo"))["reply"]
        assert reply == {"bits": {"type": "Buffer", "data": [1, 2, 255]}}
        photo = [{"n": 1}, {"type": "Buffer", "data": [1, 2]}, "end"]
        assert await alice.event("photo") == photo
        await bob.write(emit=["tell", [0, PUBLISHED]])
        await mails(alice, PUBLISHED)
        assert sum(report["kind"] == "connect" for report in alice.reports) == 1
    assert passed_on(walled) > before


async def test_sessions_of_a_pod_that_is_killed_come_back_with_all_events(
    walled: Cluster, connect: Connect, ports: dict[str, int], transports: list[str]
) -> None:
    sites = list(ports.values())
    auth = {"token": token("alice"), "recovery": True}
    async with (
        scattered(sites) as url,
        connect(url, auth=auth, transports=transports) as alice,
    ):
        await alice.told("connect")
        (gone,) = await alice.ask("where")
        stays = next(place for place, name in enumerate(ports) if name != gone)
        async with connect(direct(ports, stays), transports=["websocket"]) as bob:
            await bob.told("connect")
            await bob.ask("tell", [0, PUBLISHED])
            begin = len(alice.reports)
            kill = ("delete", "pod", gone, "--grace-period=0", "--force", "--wait=false")
            await asyncio.to_thread(walled.run, *kill)
            sites.remove(ports[gone])
            await bob.ask("tell", [PUBLISHED, 2 * PUBLISHED])
            assert (await alice.told("connect", begin))["recovered"]
            assert (await alice.ask("where"))[0] != gone
            await mails(alice, 2 * PUBLISHED)


def test_strangers_do_not_reach_the_internal_port(walled: Cluster) -> None:
    """Gateways do: each passes requests on to the other one."""
    first, second = names(walled, "gateway")
    publisher, _ = names(walled, "publisher")
    ip, other_ip = address(walled, first), address(walled, second)
    assert reaches(walled, WITNESS, ip, 8000)
    assert reaches(walled, first, other_ip, 9090)
    assert reaches(walled, second, ip, 9090)
    for stranger in (WITNESS, publisher):
        assert not reaches(walled, stranger, ip, 9090)
        assert not reaches(walled, stranger, other_ip, 9090)


def test_requests_over_the_internal_port_are_authenticated(
    walled: Cluster, ports: dict[str, int]
) -> None:
    """A pod that a policy lets in, and that knows a session, gets nowhere without a signature."""
    first, second = ports
    query = "EIO=4&transport=polling"
    opened = httpx.get(f"{direct(ports, 0)}/socket.io/?{query}")
    query += f"&sid={json.loads(opened.text[1:])['sid']}"
    internal = f"http://{address(walled, first)}:9090/socketio?{query}"
    for signature in ("", "0" * 64):
        assert walled.python(second, ASKS, internal, signature) == "403"
    relayed = httpx.post(f"{direct(ports, 1)}/socket.io/?{query}", content="40")
    assert relayed.text == "ok", "through the other gateway, which signs"


def address(cluster: Cluster, pod: str) -> str:
    """The IP address of a pod."""
    return str(cluster.get("pod", pod)["status"]["podIP"])
