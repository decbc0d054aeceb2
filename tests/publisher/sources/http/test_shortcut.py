"""Single events by the shortcut: the same answers, counts and refusals as by the routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from clarion_contract.events.audience import ALL
from clarion_publisher.sources.http.shortcut import EventShortcut
from tests.publisher.service import Service, bearer, serving

EVENT = {"audience": "all", "type": "t", "data": {"n": 1}}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the shortcut took each request to its path."""
    seen: list[bool] = []
    wants, take = EventShortcut.wants, EventShortcut.take

    def wanted(self: EventShortcut, headers: Mapping[bytes, bytes]) -> bool:
        seen.append(False)
        return wants(self, headers)

    def recorded(self: EventShortcut, *arguments: Any) -> bool:
        seen[-1] = take(self, *arguments)
        return seen[-1]

    monkeypatch.setattr(EventShortcut, "wants", wanted)
    monkeypatch.setattr(EventShortcut, "take", recorded)
    return seen


@pytest.fixture
def own(redis_url: str, namespace: str, taken: list[bool]) -> Iterator[Service]:
    with serving(redis_url, namespace=namespace) as service:
        yield service


def test_the_second_request_of_a_token_is_short_and_looks_like_the_first(
    own: Service, taken: list[bool]
) -> None:
    with own.client() as client:
        first, second = (client.post("/v1/events", json=EVENT) for _ in range(2))
        assert taken == [False, True]
    assert first.status_code == second.status_code == 201
    assert list(first.headers) == list(second.headers)
    assert first.headers["content-length"] == second.headers["content-length"]
    assert first.json().keys() == second.json().keys()
    events = own.published(ALL)
    assert [str(event.id) for event in events] == [first.json()["id"], second.json()["id"]]
    assert events[0].data == events[1].data
    labels = '{audience="all",outcome="published"}'
    assert own.metric(f"clarion_publish_requests_total{labels}") == 2
    assert own.metric(f"clarion_publish_events_total{labels}") == 2
    assert own.metric('clarion_publish_duration_seconds_count{audience="all"}') == 2
    assert own.metric("clarion_publisher_body_bytes") == 0


def test_a_key_counts(own: Service, taken: list[bool]) -> None:
    with own.client() as client:
        client.post("/v1/events", json=EVENT)
        answers = [
            client.post("/v1/events", json=EVENT, headers={"idempotency-key": "k"}).status_code,
            client.post("/v1/events", json={**EVENT, "key": "k"}).status_code,
            client.post("/v1/events", json={**EVENT, "key": "k", "type": "u"}).status_code,
        ]
    assert answers == [201, 200, 422]
    assert taken == [False, True, True, True]
    for outcome in ("published", "duplicate", "key_reused"):
        labels = f'{{audience="all",outcome="{outcome}"}}'
        assert own.metric(f"clarion_publish_events_total{labels}") > 0, outcome


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"json": {**EVENT, "type": ""}}, 422),
        ({"json": EVENT, "headers": {"idempotency-key": "é".encode()}}, 422),
        ({"json": {**EVENT, "data": "x" * 70_000}}, 413),
        ({"content": b"{"}, 400),
        ({"content": b"", "headers": {"content-type": "text/plain"}}, 415),
        ({"json": EVENT, "headers": {"content-encoding": "gzip"}}, 415),
        ({"json": EVENT, "scope": "publish:user"}, 403),
        ({"json": EVENT, "headers": {"origin": "http://elsewhere"}}, 201),
        ({"json": EVENT, "headers": {"ce-id": "1"}}, 422),
    ],
)
def test_the_routes_answer_what_the_shortcut_leaves(
    own: Service, taken: list[bool], options: dict[str, Any], status: int
) -> None:
    with own.client() as client:
        asked = {key: value for key, value in options.items() if key not in {"headers", "scope"}}
        # A token ends, so the test makes it.
        caller = bearer(scope=options["scope"]) if "scope" in options else {}
        own_token = {"authorization": client.headers["authorization"]}
        headers = {**own_token, **caller, **options.get("headers", {})}
        client.get("/v1/position", headers={"authorization": headers["authorization"]})
        answer = client.post("/v1/events", headers=headers, **asked)
    assert answer.status_code == status, answer.text
    assert taken == [False]
    assert own.metric("clarion_publisher_body_bytes") == 0


def test_the_rate_limit_holds(redis_url: str, namespace: str, taken: list[bool]) -> None:
    limits = {"rate_events_per_second": 0.001, "rate_burst_events": 3}
    with (
        serving(redis_url, namespace=namespace, **limits) as service,
        service.client() as client,
    ):
        statuses = [client.post("/v1/events", json=EVENT).status_code for _ in range(5)]
    assert statuses == [201, 201, 201, 429, 429]
    assert taken == [False, True, True, False, False]


def test_it_works_below_a_prefix(redis_url: str, namespace: str, taken: list[bool]) -> None:
    with (
        serving(redis_url, namespace=namespace, path_prefix="/push") as service,
        service.client() as client,
    ):
        for _ in range(2):
            assert client.post("/push/v1/events", json=EVENT).status_code == 201
    assert taken == [False, True]


def test_a_bug_in_the_answer_is_that_requests_alone(
    own: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own.client() as client:
        client.post("/v1/events", json=EVENT)
        with monkeypatch.context() as broken:
            broken.setattr(
                "clarion_publisher.sources.http.shortcut.answer_to_one", lambda *_: 1 // 0
            )
            assert client.post("/v1/events", json=EVENT).status_code == 500
        assert client.post("/v1/events", json=EVENT).status_code == 201


def test_a_traced_request_passes_its_trace_on(own: Service, taken: list[bool]) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    with own.client() as client:
        for _ in range(2):
            client.post("/v1/events", json=EVENT, headers={"traceparent": trace})
        client.post("/v1/events", json=EVENT, headers={"traceparent": trace[:-2] + "00"})
    assert taken == [False, True, True]
    assert [event.trace for event in own.published(ALL)] == [trace, trace, None]
