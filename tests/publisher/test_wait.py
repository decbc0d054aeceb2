"""CLARION_WAIT_REPLICAS: an accepted event is on the replicas, also after a retry."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion_contract.events.audience import ALL
from tests.publisher.service import Service, serving
from tests.redis_topologies import Node, replicated, wait_for_replica


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with replicated(tmp_path) as pair:
        yield pair


@pytest.fixture
def primary(pair: tuple[Node, Node]) -> Node:
    return pair[0]


@pytest.fixture
def replica(pair: tuple[Node, Node]) -> Node:
    """A replica in step with its primary; a test may pause or kill it."""
    return pair[1]


@pytest.fixture
def service(primary: Node, namespace: str) -> Iterator[Service]:
    with serving(
        f"redis://{primary.address}/0", namespace=namespace, wait_replicas=1, wait_seconds=0.3
    ) as service:
        yield service


EVENT = {"audience": "all", "type": "tick", "data": 1, "key": "once"}


def test_published_means_replicated(service: Service, replica: Node) -> None:
    with service.client() as client:
        response = client.post("/v1/events", json=EVENT)
    assert response.status_code == 201
    assert replica.client.xlen(service.settings.keyspace.log("all")) == 1


def test_a_retry_waits_too_and_publishes_nothing_twice(
    service: Service, primary: Node, replica: Node
) -> None:
    """The retry uses another publisher, whose connection has written nothing yet. There WAIT would
    accept a replica that lacks the event."""
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


def test_a_batch_waits_once(service: Service, primary: Node, replica: Node) -> None:
    """One WAIT per pipeline: a hundred events without a replica take one timeout."""

    def waits() -> int:
        return int(primary.client.info("commandstats")["cmdstat_wait"]["calls"])

    events = [{"audience": "all", "type": "tick", "data": number} for number in range(100)]
    with service.client(timeout=60) as client:
        response = client.post("/v1/events:batch", json={"events": events})
        assert {item["status"] for item in response.json()["results"]} == {201}
        replica.kill()
        before = waits()
        response = client.post("/v1/events:batch", json={"events": events})
    assert response.status_code == 503
    assert waits() == before + 1


def test_a_revocation_is_replicated_before_it_is_confirmed(
    service: Service, primary: Node, replica: Node
) -> None:
    """So is a retry through a publisher whose connection has written nothing yet. The retry changes
    nothing in Redis, but must not be confirmed for that reason."""
    path, body = "/v1/tokens/one/revoke", {"expires_at": int(time.time()) + 3_600}
    replica.signal(signal.SIGSTOP)
    settings = {"namespace": service.settings.namespace, "wait_replicas": 1, "wait_seconds": 0.3}
    with service.client() as client:
        response = client.post(path, json=body)
        assert (response.status_code, response.json()["retryable"]) == (503, True)
    with serving(service.settings.redis_url, **settings) as other, other.client() as client:
        assert client.post(path, json=body).status_code == 503
        replica.signal(signal.SIGCONT)
        wait_for_replica(primary)
        assert client.post(path, json=body).status_code == 200
    assert replica.client.zcard(service.settings.keyspace.orders) == 1
    assert len(service.orders()) == 1
