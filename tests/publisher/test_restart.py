"""A restart of Redis, as producers notice it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clarion_contract.events.audience import ALL
from clarion_publisher.sources.http import problems
from tests.publisher.service import Service, serving
from tests.publisher.sources.http.test_routes import assert_problem
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

EVENT = {"audience": "all", "type": "tick"}


@pytest.fixture
def service(lasting_valkey: Valkey, namespace: str) -> Iterator[Service]:
    with serving(lasting_valkey.url, namespace=namespace) as service:
        yield service


def killed(valkey: Valkey, service: Service) -> None:
    """Kill Redis, and wait until the publisher has noticed."""
    valkey.kill()
    wait_until(lambda: not service.internal("/readyz").is_success, "not ready")


def test_publishes_wait_for_a_redis_that_is_restarted(
    service: Service, lasting_valkey: Valkey
) -> None:
    """Nothing was sent before, so nothing is published twice, even without a key."""
    with service.client(timeout=60) as client, ThreadPoolExecutor(20) as threads:
        assert client.post("/v1/events", json={**EVENT, "data": 0}).status_code == 201
        killed(lasting_valkey, service)
        answers = [
            threads.submit(client.post, "/v1/events", json={**EVENT, "data": number})
            for number in range(1, 20)
        ]
        time.sleep(0.5)
        assert not any(answer.done() for answer in answers)
        lasting_valkey.start()
        assert {answer.result().status_code for answer in answers} == {201}
    assert sorted(int(event.data) for event in service.published(ALL)) == list(range(20))


def test_they_do_not_wait_for_ever_and_not_one_after_the_other(
    service: Service, lasting_valkey: Valkey
) -> None:
    """The first waits as long as a restart may take; later ones fail until Redis is back."""
    with service.client(timeout=60) as client:
        assert client.post("/v1/events", json={**EVENT, "data": 0}).status_code == 201
        killed(lasting_valkey, service)
        first = client.post("/v1/events", json={**EVENT, "data": 1})
        assert_problem(first, problems.BUS_UNAVAILABLE)
        tried = service.metric("clarion_publisher_bus_errors_total")
        second = client.post("/v1/events", json={**EVENT, "data": 2})
        assert_problem(second, problems.BUS_UNAVAILABLE)
        assert service.metric("clarion_publisher_bus_errors_total") == tried + 1, "no second try"
    assert first.elapsed.total_seconds() > 2
