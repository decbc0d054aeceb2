"""When each metric counts, and that callers cannot choose label values."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from clarion_publisher.sources.http.problems import ROWS
from tests.publisher.service import Service, bearer, serving

EVENT = {"audience": {"user": "alice"}, "type": "t", "data": 1}
OUTCOMES = {"published", "duplicate", "partial", "done"} | {row.name for row in ROWS}
OPERATIONS = {
    "disconnect_user",
    "revoke_user",
    "revoke_token",
    "read_user",
    "read_connections",
    "read_topic",
    "change_topics",
    "read_position",
    "write_piece",
    "stop_text",
}
AUDIENCES = {"all", "authenticated", "user", "topic", "batch", "unknown"}


@pytest.fixture
def fresh(redis_url: str, namespace: str):  # type: ignore[no-untyped-def]
    """A publisher whose counters are all 0."""
    with serving(redis_url, namespace=namespace) as service:
        yield service


def test_requests_and_events_are_counted(fresh: Service) -> None:
    with fresh.client() as client:
        client.post("/v1/events", json=EVENT)
        client.post("/v1/events", json={**EVENT, "key": "k"})
        client.post("/v1/events", json={**EVENT, "key": "k"})
        client.post("/v1/events", json=EVENT, headers=bearer(scope=""))
        client.post("/v1/events", json={})
        client.post("/v1/events", json=EVENT, headers={"authorization": ""})
        client.post("/v1/events:batch", json={"events": [EVENT, EVENT, {}]})
        client.post("/v1/events:batch", json={"events": [EVENT]})
        client.post("/v1/events:batch", content=b"{")

    def requests(outcome: str, audience: str) -> float:
        labels = f'audience="{audience}",outcome="{outcome}"'
        return fresh.metric(f"clarion_publish_requests_total{{{labels}}}")

    def events(outcome: str, audience: str) -> float:
        labels = f'audience="{audience}",outcome="{outcome}"'
        return fresh.metric(f"clarion_publish_events_total{{{labels}}}")

    assert requests("published", "user") == 2
    assert requests("duplicate", "user") == 1
    assert requests("insufficient_scope", "user") == 1
    assert requests("invalid_event", "unknown") == 1
    assert requests("unauthenticated", "unknown") == 1
    assert requests("partial", "batch") == 1
    assert requests("published", "batch") == 1
    assert requests("malformed_json", "batch") == 1
    assert events("published", "user") == 5
    assert events("duplicate", "user") == 1
    assert events("insufficient_scope", "user") == 1
    assert events("invalid_event", "unknown") == 1
    assert fresh.metric('clarion_publish_duration_seconds_count{audience="user"}') == 4
    assert fresh.metric("clarion_publisher_pipeline_events_sum") == 6
    assert fresh.metric("clarion_publisher_pipeline_duration_seconds_count") == 5


def test_labels_are_a_closed_set(service: Service, client: httpx.Client) -> None:
    odd = "made-up-\u00e9"
    client.post("/v1/events", json={**EVENT, "type": "made-up", "audience": odd})
    client.post(f"/made-up/{odd}", json=EVENT)
    client.post("/v1/events", json=EVENT, headers={"content-type": "made/up"})
    client.post("/v1/events", json=EVENT, headers=bearer(subject="made-up", scope="made:up"))
    client.post("/v1/users/made-up/disconnect")
    client.get("/v1/users/made-up")
    client.get("/v1/connections")
    client.post("/v1/tokens/made-up/revoke", json={"made": "up"})
    page = service.internal("/metrics").text
    assert "made" not in page
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if family.name.startswith("clarion_"):
                assert set(sample.labels) <= {
                    "outcome",
                    "audience",
                    "reason",
                    "operation",
                    "task",
                    "fault",
                    "finding",
                    "le",
                }
                assert sample.labels.get("operation", "revoke_user") in OPERATIONS
                assert sample.labels.get("outcome", "published") in OUTCOMES
                assert sample.labels.get("audience", "all") in AUDIENCES


def test_names_have_the_prefix(service: Service) -> None:
    for family in text_string_to_metric_families(service.internal("/metrics").text):
        assert family.name.startswith(("clarion_publish", "process_", "python_"))
