"""The interface between sources and ingestion: HTTP is one source, and another needs nothing more.

`ListSource` is one file, and one argument lists it. It knows neither HTTP nor Redis.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clarion_contract.events.audience import ALL, Audience, user_audience
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.ingestion import Ingestion
from clarion_publisher.ingestion.refusal import INSUFFICIENT_SCOPE, INVALID_EVENT
from clarion_publisher.sources.source import Source
from tests.publisher.service import Service, serving
from tests.publisher.sources.list_source import ListSource
from tests.redis_topologies import wait_until
from tests.valkey import Valkey


def ticks(audience: Audience, count: int) -> list[IncomingEvent]:
    """Events with keys, so that none can be published twice."""
    return [IncomingEvent(audience, "tick", b"%d" % n, key=f"tick-{n}") for n in range(count)]


def data_of(service: Service, audience: Audience) -> list[int]:
    return [int(event.data) for event in service.published(audience)]


def test_a_second_source_publishes_beside_http(redis_url: str, namespace: str, user: str) -> None:
    source = ListSource(ticks(user_audience(user), 8))
    with serving(redis_url, namespace=namespace, sources=[source]) as service:
        wait_until(lambda: len(source.published) == 8, "all events are published")
        assert data_of(service, user_audience(user)) == list(range(8))
        assert source.tries == 3
        with service.client() as client:
            body = {"audience": {"user": user}, "type": "tick", "data": 8}
            assert client.post("/v1/events", json=body).status_code == 201
        assert data_of(service, user_audience(user)) == list(range(9))
        labels = 'audience="user",outcome="published"'
        assert service.metric(f"clarion_publish_events_total{{{labels}}}") == 9
        assert service.metric(f"clarion_publish_requests_total{{{labels}}}") == 1
    assert source.stopped


def test_what_is_wrong_for_good_is_told_event_by_event(redis_url: str, namespace: str) -> None:
    good, bad, forbidden = (
        IncomingEvent(ALL, "tick", b"1"),
        IncomingEvent(ALL, "no type", b"2"),
        IncomingEvent(user_audience("alice"), "tick", b"3"),
    )
    source = ListSource([bad, good, forbidden], Claims("list", frozenset({"publish:all"}), 0))
    with serving(redis_url, namespace=namespace, sources=[source]) as service:
        wait_until(lambda: len(source.refused) == 2, "two are refused")
        assert data_of(service, ALL) == [1]
    assert [(event, refusal.kind) for event, refusal in source.refused] == [
        (bad, INVALID_EVENT),
        (forbidden, INSUFFICIENT_SCOPE),
    ]


def test_what_is_wrong_for_now_is_handed_in_again(lasting_valkey: Valkey, namespace: str) -> None:
    """Redis is absent at the start: nothing is lost, nothing comes twice, the order stays."""
    lasting_valkey.kill()
    source = ListSource(ticks(ALL, 7))
    with serving(lasting_valkey.url, namespace=namespace, sources=[source]) as service:
        wait_until(lambda: source.tries >= 2, "the source tries again")
        reasons = service.internal("/readyz").json()["reasons"]
        assert "7 events of the list wait" in reasons
        lasting_valkey.start()
        wait_until(lambda: len(source.published) == 7, "all events are published", seconds=20)
        assert data_of(service, ALL) == list(range(7))
        wait_until(
            lambda: service.internal("/readyz").json() == {"ready": True, "reasons": []},
            "the publisher is ready",
        )
    assert source.refused == []


def test_a_caller_that_is_too_fast_is_slowed(redis_url: str, namespace: str) -> None:
    source = ListSource(ticks(ALL, 9))
    options = {"rate_events_per_second": 50, "rate_burst_events": 1}
    with serving(redis_url, namespace=namespace, sources=[source], **options) as service:
        wait_until(lambda: len(source.published) == 9, "all events are published", seconds=20)
        assert data_of(service, ALL) == list(range(9))
    assert source.tries > 3


class Broken:
    """A source with a bug."""

    async def run(self, ingestion: Ingestion) -> None:
        raise ZeroDivisionError

    def obstacles(self) -> Sequence[str]:
        return ()

    def warnings(self) -> Sequence[str]:
        return ()


def test_a_bug_of_a_source_ends_the_pod(redis_url: str, namespace: str) -> None:
    """Kubernetes starts another. If a source died silently, events would be lost."""
    source: Source = Broken()
    with pytest.raises(BaseExceptionGroup) as caught, serving(redis_url, sources=[source]):
        pass
    assert caught.group_contains(ZeroDivisionError)
