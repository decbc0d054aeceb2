"""Token buckets, with a clock that the test sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_publisher.ingestion.rate_limit import RateLimit
from clarion_publisher.ingestion.refusal import Refusal
from tests.publisher.service import bearer, serving


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(events_per_second=2, burst_events=3, clock=clock)
    for _ in range(3):
        limit.take("orders", 1)
    with pytest.raises(Refusal) as caught:
        limit.take("orders", 1)
    assert caught.value.retry_after_seconds == 1
    limit.take("billing", 1)
    clock.now = 0.5
    limit.take("orders", 1)


def test_a_batch_larger_than_the_burst_is_slowed_not_shut_out() -> None:
    clock = Clock()
    limit = RateLimit(events_per_second=10, burst_events=5, clock=clock)
    limit.take("orders", 105)
    with pytest.raises(Refusal) as caught:
        limit.take("orders", 1)
    assert caught.value.retry_after_seconds == 11
    clock.now = 10.1
    limit.take("orders", 1)


def test_zero_is_no_limit() -> None:
    limit = RateLimit(events_per_second=0, burst_events=1)
    for _ in range(100):
        limit.take("orders", 1_000)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=50))
def test_never_more_than_burst_and_rate_and_one_batch(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    limit = RateLimit(events_per_second=3, burst_events=7, clock=clock)
    passed = 0
    for pause, events in steps:
        clock.now += pause
        try:
            limit.take("orders", events)
            passed += events
        except Refusal:
            continue
    assert passed <= 7 + 3 * clock.now + 50


def test_over_http(redis_url: str, namespace: str) -> None:
    limits = {"rate_events_per_second": 0.1, "rate_burst_events": 2}
    event = {"audience": "all", "type": "t", "data": 1}
    with (
        serving(redis_url, namespace=namespace, **limits) as service,
        service.client() as client,
    ):
        assert client.post("/v1/events:batch", json={"events": [event] * 2}).status_code == 200
        for path, body in (("/v1/events", event), ("/v1/events:batch", {"events": [event]})):
            response = client.post(path, json=body)
            assert response.status_code == 429
            assert 1 <= int(response.headers["retry-after"]) <= 10
        other = client.post("/v1/events", json=event, headers=bearer("billing"))
        assert other.status_code == 201
