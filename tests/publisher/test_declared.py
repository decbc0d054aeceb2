"""Declared events over HTTP: 422 with a pointer, in a batch for one event only; live reloading."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.cloudevents import STRUCTURED_TYPE
from tests.publisher.service import Service, serving
from tests.publisher.sources.http.test_routes import BATCH, EVENTS, assert_problem, event
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

SCHEMA = {
    "type": "object",
    "required": ["n"],
    "properties": {"n": {"type": "integer"}},
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    events = {"order.updated": {"schema": SCHEMA, "audiences": ["all", "user"]}}
    (folder / "events.json").write_text(json.dumps({"events": events}))
    return folder


@pytest.fixture(scope="module")
def declaring(shared_valkey: Valkey, catalogue: Path) -> Iterator[Service]:
    namespace = f"declared-{uuid.uuid4().hex[:8]}"
    options = {"namespace": namespace, "catalogue": catalogue, "undeclared": "refuse"}
    with serving(shared_valkey.url, **options) as service:
        yield service


def test_a_declared_event_passes(declaring: Service) -> None:
    with declaring.client() as client:
        assert client.post(EVENTS, json=event()).status_code == 201


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"data": {"n": "1"}}, "/data/n"),
        ({"data": {}}, "/data/n"),
        ({"audience": "authenticated"}, "/audience"),
        ({"type": "order.lost"}, "/type"),
    ],
)
def test_others_are_refused_with_a_pointer(
    declaring: Service, fields: dict[str, object], pointer: str
) -> None:
    with declaring.client() as client:
        problem = assert_problem(
            client.post(EVENTS, json={**event(), **fields}), problems.INVALID_EVENT
        )
        assert [each["pointer"] for each in problem["errors"]] == [pointer]
        answer = client.post(BATCH, json={"events": [{**event(), **fields}, event()]})
        assert [each["status"] for each in answer.json()["results"]] == [422, 201]


def test_cloudevents_too(declaring: Service) -> None:
    given = {
        "specversion": "1.0",
        "id": "1",
        "source": "/s",
        "type": "order.updated",
        "clarionaudience": "all",
        "data": {"n": None},
    }
    with declaring.client(headers={"content-type": STRUCTURED_TYPE}) as client:
        problem = assert_problem(client.post(EVENTS, json=given), problems.INVALID_EVENT)
    assert problem["errors"] == [
        {"pointer": "/data/n", "expected": "a value of type integer", "got": "null"}
    ]


def test_a_refused_event_does_not_use_up_its_key(declaring: Service) -> None:
    with declaring.client() as client:
        assert client.post(EVENTS, json=event(key="k", data={})).status_code == 422
        assert client.post(EVENTS, json=event(key="k")).status_code == 201


def test_changed_files_count_while_the_service_runs(declaring: Service, catalogue: Path) -> None:
    file = catalogue / "more.json"
    with declaring.client() as client:
        file.write_text(json.dumps({"events": {"cart.filled": {}}}))
        wait_until(
            lambda: client.post(EVENTS, json=event(type="cart.filled")).status_code == 201,
            "the new type",
        )
        file.write_text("{")
        wait_until(
            lambda: declaring.metric("clarion_publisher_catalogue_broken") == 1, "the metric"
        )
        ready = declaring.internal("/readyz")
        assert ready.status_code == 200
        assert "more.json" in str(ready.json()["warnings"])
        assert client.post(EVENTS, json=event(type="cart.filled")).status_code == 201
        file.unlink()
        wait_until(
            lambda: declaring.metric("clarion_publisher_catalogue_broken") == 0, "the metric"
        )
        assert declaring.metric("clarion_publisher_catalogue_declared") == 1


def test_findings_are_counted(declaring: Service) -> None:
    counter = 'clarion_publisher_catalogue_findings_total{finding="invalid"}'
    before = declaring.metric(counter)
    with declaring.client() as client:
        assert_problem(client.post(EVENTS, json=event(data=1)), problems.INVALID_EVENT)
    assert declaring.metric(counter) == before + 1


def test_nothing_is_declared_by_default(client: httpx.Client) -> None:
    assert client.post(EVENTS, json=event(data="anything")).status_code == 201
