"""PUBLISHER_WAIT_REPLICAS: 201 means that replicas have the event, also for a retry."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.audience import ALL
from tests.e2e.ports import free_ports
from tests.publisher.service import Service, serving
from tests.redis_topologies import Node, wait_until


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "primary", free_ports(1), ("--repl-diskless-sync-delay", "0"))
    node.start()
    yield node
    node.kill()


@pytest.fixture
def replica(tmp_path: Path, primary: Node) -> Iterator[Node]:
    """In step; a test may kill it and start it again."""
    node = Node(tmp_path / "replica", free_ports(1), ("--replicaof", f"127.0.0.1 {primary.port}"))
    node.start()
    wait_for_replica(primary)
    yield node
    node.kill()


@pytest.fixture
def service(primary: Node, replica: Node, namespace: str) -> Iterator[Service]:
    with serving(
        f"redis://{primary.address}/0", namespace=namespace, wait_replicas=1, wait_seconds=0.3
    ) as service:
        yield service


def wait_for_replica(primary: Node) -> None:
    """Return when one confirms what is written; a new one does so a second after it has come."""

    def confirms() -> bool:
        with primary.client.client() as connection:
            connection.set("in-step", 1)
            return bool(connection.wait(1, 500))

    wait_until(confirms, "a replica")


EVENT = {"audience": "all", "type": "tick", "data": 1, "key": "once"}


def test_published_means_replicated(service: Service, replica: Node) -> None:
    with service.client() as client:
        response = client.post("/v1/events", json=EVENT)
    assert response.status_code == 201
    assert replica.client.xlen(service.settings.keyspace.log("all")) == 1


def test_a_retry_waits_too_and_publishes_nothing_twice(
    service: Service, primary: Node, replica: Node
) -> None:
    """Through another publisher, whose connection has written nothing yet: there WAIT would be
    content with a replica that lacks the event."""
    replica.signal(signal.SIGSTOP)
    settings = {"namespace": service.settings.namespace, "wait_replicas": 1, "wait_seconds": 0.3}
    with service.client() as client:
        response = client.post("/v1/events", json=EVENT)
        assert (response.status_code, response.json()["retryable"]) == (503, True)
    with serving(service.settings.redis_url, **settings) as other, other.client() as client:
        response = client.post("/v1/events", json=EVENT)
        assert response.status_code == 503, response.text
        replica.signal(signal.SIGCONT)
        wait_for_replica(primary)
        response = client.post("/v1/events", json=EVENT)
        assert (response.status_code, response.json()["duplicate"]) == (200, True)
    assert len(service.published(ALL)) == 1
    assert replica.client.xlen(service.settings.keyspace.log("all")) == 1


def test_a_batch_waits_once(service: Service, replica: Node) -> None:
    """One WAIT for a pipeline: a hundred events without a replica take one timeout."""
    events = [{"audience": "all", "type": "tick", "data": number} for number in range(100)]
    with service.client(timeout=3) as client:
        response = client.post("/v1/events:batch", json={"events": events})
        assert {item["status"] for item in response.json()["results"]} == {201}
        replica.kill()
        response = client.post("/v1/events:batch", json={"events": events})
    assert response.status_code == 503
    assert response.elapsed.total_seconds() < 2
