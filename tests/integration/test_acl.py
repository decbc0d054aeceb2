"""Both services with exactly the ACL that docs/kubernetes.md lists."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.ports import free_ports
from tests.integration.pod import started, token
from tests.integration.sockets import opened
from tests.integration.upstream import SECRET as SIGNING
from tests.publisher.service import serving
from tests.redis_topologies import Node, cluster, replicated, sentinels, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
EVENT = {"audience": {"user": "alice"}, "type": "tick", "data": 1, "key": "k"}
NAMESPACE = "clarion"


LOGIN = "clarion:PASSWORD@"


def documented() -> list[str]:
    """The command of the page, in words."""
    (command,) = re.findall(
        r"^ACL SETUSER clarion .*?(?=^```)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(command).split()


def also_documented(what: str) -> list[str]:
    """What the page adds for some installations, such as ``A cluster also needs`` these."""
    (commands,) = re.findall(rf"{re.escape(what)} `([^`]+)`", PAGE.read_text())
    return str(commands).split()


@dataclass
class Installation:
    """A Redis whose user has what the page lists for it, and nothing else."""

    url: str
    nodes: Sequence[Node]
    wait_replicas: int = 0
    clustered: bool = False

    def refused(self) -> set[Any]:
        """The commands, keys and channels that some server did not allow."""
        return {entry["object"] for node in self.nodes for entry in node.client.acl_log()}


def allow(nodes: Sequence[Node], *more: str) -> None:
    for node in nodes:
        node.client.execute_command(*documented(), *more)


@contextlib.contextmanager
def one_server(folder: Path) -> Iterator[Installation]:
    node = Node(folder / "server", free_ports(1))
    try:
        node.start()
        allow([node])
        yield Installation(f"redis://{LOGIN}{node.address}/0", [node])
    finally:
        node.kill()


@contextlib.contextmanager
def resp3(folder: Path) -> Iterator[Installation]:
    with one_server(folder) as server:
        allow(server.nodes, *also_documented("`?protocol=3` needs"))
        yield Installation(f"{server.url}?protocol=3", server.nodes)


@contextlib.contextmanager
def with_a_replica(folder: Path) -> Iterator[Installation]:
    with replicated(folder) as nodes:
        allow(nodes, *also_documented("`CLARION_WAIT_REPLICAS`"))
        yield Installation(f"redis://{LOGIN}{nodes[0].address}/0", nodes, wait_replicas=1)


@contextlib.contextmanager
def behind_sentinels(folder: Path) -> Iterator[Installation]:
    with sentinels(folder, replicas=1) as topology:
        allow(topology.nodes, *also_documented("Sentinels"))
        url = topology.url.replace("://", f"://{LOGIN}")
        yield Installation(url, topology.nodes)


@contextlib.contextmanager
def of_a_cluster(folder: Path) -> Iterator[Installation]:
    with cluster(folder) as topology:
        allow(topology.nodes, *also_documented("A cluster also needs"))
        url = topology.url.replace("://", f"://{LOGIN}")
        yield Installation(url, topology.nodes, clustered=True)


@pytest.fixture(params=[one_server, resp3, with_a_replica, behind_sentinels, of_a_cluster])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    start: Callable[[Path], contextlib.AbstractContextManager[Installation]] = request.param
    with start(tmp_path) as installation:
        yield installation
        assert installation.refused() == set()


async def test_it_is_enough_for_both_services(installation: Installation) -> None:
    url, replicas = installation.url, installation.wait_replicas
    with (
        serving(url, namespace=NAMESPACE, wait_replicas=replicas) as publisher,
        publisher.client(timeout=60) as client,
    ):

        def ready() -> bool:
            return publisher.internal("/readyz").is_success

        def post(path: str, **body: Any) -> int:
            return client.post(path, json=body).status_code

        await asyncio.to_thread(wait_until, ready, "a ready publisher")
        async with started(
            url,
            NAMESPACE,
            probe_interval_seconds=0.1,
            heartbeat_seconds=1,
            wait_replicas=replicas,
            upstream_url="http://127.0.0.1:1/",
            upstream_secret=SIGNING,
            upstream_hooks=("presence",),
            upstream_retries=0,
        ) as pod:
            async with opened(pod, token=token("alice")) as alice:
                for _ in range(2):
                    status = await asyncio.to_thread(post, "/v1/events", **EVENT)
                    assert status in (200, 201)
                for seq in (1, 2):  # a growing text, which replaces its entry in the log
                    path = "/v1/topics/answer.1/texts/a"
                    assert await asyncio.to_thread(post, path, seq=seq, text="a") == 200
                (event,) = await alice.events(1)
            async with opened(pod, since=event["id"], token=token("alice")) as alice:
                # On a cluster that has just begun, a resume would reach back before its first event.
                assert alice.welcome["resumed"] is not installation.clustered

                def known() -> bool:
                    return bool(client.get("/v1/users/alice").json()["connected"])

                await asyncio.to_thread(wait_until, known, "presence")
                assert await asyncio.to_thread(post, "/v1/users/alice/disconnect") == 200
                await alice.closed()
            assert await asyncio.to_thread(post, "/v1/users/bob/revoke") == 200
            connections = await asyncio.to_thread(client.get, "/v1/connections")
            assert connections.status_code == 200
