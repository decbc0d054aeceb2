"""The declared events in the OpenAPI document."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from clarion_publisher.sources.http.routes import EVENTS_PATH
from tests.publisher.service import Service, serving
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

EVENTS: dict[str, Any] = {
    "order.updated": {
        "description": "An order has a new state.",
        "schema": {"type": "object", "required": ["line"], "properties": {"line": {"$ref": "line.json"}}},
        "audiences": ["topic:order.*"],
        "example": {"line": "x"},
    },
    # A name that the document has already.
    "receipt": {"schema": {"type": "string"}, "audiences": ["user"], "example": "r"},
    "old.*": {"schema": {"type": "null"}},
}  # fmt: skip
GENERAL = "any event"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "events.json").write_text(json.dumps({"events": EVENTS}))
    (tmp_path / "line.json").write_text('{"type": "string"}')
    return tmp_path


@pytest.fixture
def declaring(shared_valkey: Valkey, folder: Path) -> Iterator[Service]:
    namespace = f"openapi-{uuid.uuid4().hex[:8]}"
    with serving(shared_valkey.url, namespace=namespace, catalogue=folder) as service:
        yield service


def document(client: httpx.Client) -> dict[str, Any]:
    served: dict[str, Any] = client.get("/openapi.json").json()
    OpenAPIV31SpecValidator(served).validate()
    return served


def takes(served: dict[str, Any], value: dict[str, Any]) -> bool:
    whole = {"$ref": "#/components/schemas/NewEvent", "components": served["components"]}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))


def examples(served: dict[str, Any]) -> dict[str, Any]:
    operation = served["paths"][EVENTS_PATH]["post"]
    found: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["examples"]
    return found


def test_the_bodys_schema_knows_the_data_of_each_type(declaring: Service) -> None:
    with declaring.client() as client:
        served = document(client)
    event = {"audience": {"topic": "order.1"}, "type": "order.updated", "data": {"line": "a"}}
    assert takes(served, event)
    assert not takes(served, {**event, "data": {"line": 1}})
    assert takes(served, {**event, "type": "receipt", "data": "text"})
    assert not takes(served, {**event, "type": "receipt", "data": 1})
    assert takes(served, {**event, "type": "other", "data": 1})
    assert served["components"]["schemas"]["Receipt"]["properties"].keys() >= {"duplicate"}


def test_an_example_of_each_event_can_be_published(declaring: Service) -> None:
    with declaring.client() as client:
        found = examples(document(client))
        assert found.keys() == {"order.updated", "receipt", GENERAL}
        assert found["order.updated"]["summary"] == "An order has a new state."
        for name in found.keys() - {GENERAL}:
            assert client.post(EVENTS_PATH, json=found[name]["value"]).status_code == 201, name


def test_a_changed_catalogue_changes_the_document(declaring: Service, folder: Path) -> None:
    with declaring.client() as client:
        assert "order.updated" in examples(document(client))
        (folder / "events.json").write_text('{"events": {"other": {"example": 1}}}')
        wait_until(
            lambda: examples(document(client)).keys() == {"other", GENERAL}, "the new catalogue"
        )
