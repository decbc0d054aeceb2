"""The OpenAPI document: true to the code, and to the running service."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from clarion_publisher import problems
from clarion_publisher.openapi import openapi_document
from clarion_publisher.routes import BATCH_PATH, EVENTS_PATH
from clarion_publisher.users import (
    CONNECTIONS_PATH,
    DISCONNECT_PATH,
    REVOKE_TOKEN_PATH,
    REVOKE_USER_PATH,
    USER_PATH,
)
from tests.publisher.service import Service, token

DOCUMENT = openapi_document(version="1", batch_max_events=5)


def excuse(response: schemathesis.Response) -> list[Any]:
    """What a document cannot say: bytes of a user id, keys in use, batches that fail partly."""
    if response.status_code == 422:
        problem = response.json()
        if problem["type"] == problems.INVALID_REQUEST.type and "in the path" in problem["detail"]:
            return [positive_data_acceptance]
        pointers = [error["pointer"] for error in problem.get("errors", [])]
        if problem["type"] == problems.KEY_REUSED.type or pointers in (
            ["/key"],
            ["/audience/user"],
        ):
            return [positive_data_acceptance]
    if response.status_code == 207:
        assert any(result["status"] >= 400 for result in response.json()["results"])
        return [negative_data_rejection]
    return []


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", EVENTS_PATH),
        ("POST", BATCH_PATH),
        ("GET", USER_PATH),
        ("GET", CONNECTIONS_PATH),
        ("POST", DISCONNECT_PATH),
        ("POST", REVOKE_USER_PATH),
        ("POST", REVOKE_TOKEN_PATH),
    ],
)
def test_schemathesis_finds_nothing(
    service: Service, method: str, path: str, mode: GenerationMode
) -> None:
    """Requests that fit the document are served, others refused, all as the document says."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operation = schema[path][method]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        response = case.call(headers={"Authorization": f"Bearer {token()}"})
        case.validate_response(response, excluded_checks=excuse(response))

    check()


def test_every_problem_is_documented() -> None:
    """404 and 405 belong to no operation."""
    text = str(DOCUMENT["paths"])
    for row in problems.ROWS:
        documented = f"({row.name})" in text
        assert documented == (row not in {problems.NOT_FOUND, problems.METHOD_NOT_ALLOWED})


def test_the_document_is_the_served_one(client: httpx.Client) -> None:
    served = client.get("/openapi.json").json()
    assert served["openapi"] == "3.1.0"
    assert served["paths"].keys() == DOCUMENT["paths"].keys()
    events = served["components"]["schemas"]["NewEvents"]["properties"]["events"]
    assert events["maxItems"] == 1_000


def test_every_reference_leads_somewhere() -> None:
    def references(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    schemas = DOCUMENT["components"]["schemas"]
    for reference in references(DOCUMENT):
        assert reference.removeprefix("#/components/schemas/") in schemas
