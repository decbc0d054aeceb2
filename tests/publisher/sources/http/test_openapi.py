"""The OpenAPI document matches the code and the running service, and generators accept it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
import re2
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.routes import BATCH_PATH, EVENTS_PATH
from tests.publisher.service import Service, token

PATHS = {
    EVENTS_PATH: "POST",
    BATCH_PATH: "POST",
    "/v1/users/{user}": "GET",
    "/v1/topics/{topic}": "GET",
    "/v1/topics/{topic}/texts/{text}": "POST",
    "/v1/topics/{topic}/texts/{text}/stop": "POST",
    "/v1/connections": "GET",
    "/v1/position": "GET",
    "/v1/users/{user}/disconnect": "POST",
    "/v1/users/{user}/topics": "POST",
    "/v1/users/{user}/revoke": "POST",
    "/v1/tokens/{token_id}/revoke": "POST",
}


# Texts with a form that the document does not give, and what a header forbids.
CLOUD_EVENT_POINTERS = {"/clarionaudience", "/datacontenttype", "/data_base64", "/id"}


@pytest.fixture
def document(client: httpx.Client) -> dict[str, Any]:
    """The document as the publisher serves it."""
    served: dict[str, Any] = client.get("/openapi.json").json()
    return served


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def found(node: Any, name: str) -> Iterator[Any]:
    """All values under a name, at any depth."""
    if isinstance(node, dict):
        if name in node:
            yield node[name]
        for value in node.values():
            yield from found(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from found(value, name)


def excuse(response: schemathesis.Response) -> list[Any]:
    """Facts that a document cannot express: a name's bytes, used keys, partly failed batches,
    topics that are in two lists or in none, pieces that do not follow.
    """
    if response.status_code == 422:
        problem = response.json()
        if problem["type"] == problems.INVALID_REQUEST.type and "in the path" in problem["detail"]:
            return [positive_data_acceptance]
        pointers = [_field(error["pointer"]) for error in problem.get("errors", [])]
        inexact = {"/key", "/audience/user", "/add", "/remove", "/seq", *CLOUD_EVENT_POINTERS}
        if problem["type"] == problems.KEY_REUSED.type or inexact.issuperset(pointers):
            return [positive_data_acceptance]
    if response.status_code == 207:
        assert any(result["status"] >= 400 for result in response.json()["results"])
        return [negative_data_rejection]
    return []


def _field(pointer: str) -> str:
    """The field that a pointer is about, also if it is about one element of it."""
    field, _, last = pointer.rpartition("/")
    return field if last.isdecimal() else pointer


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(("path", "method"), PATHS.items())
def test_schemathesis_finds_nothing(
    service: Service, method: str, path: str, mode: GenerationMode
) -> None:
    """Requests that fit the document are served, others refused, always as the document says."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operation = schema[path][method]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case: schemathesis.Case) -> None:
        response = case.call(headers={"Authorization": f"Bearer {token()}"})
        case.validate_response(response, excluded_checks=excuse(response))

    check()


def test_every_problem_is_documented(document: dict[str, Any]) -> None:
    """404 and 405 belong to no operation."""
    text = str(document["paths"])
    for row in problems.ROWS:
        documented = f"({row.name})" in text
        assert documented == (row not in {problems.NOT_FOUND, problems.METHOD_NOT_ALLOWED})


def test_the_document_knows_the_service(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert {path: next(iter(item)).upper() for path, item in document["paths"].items()} == PATHS
    events = document["components"]["schemas"]["NewEvents"]["properties"]["events"]
    assert events["maxItems"] == 1_000


def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for reference in found(document, "$ref"):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_every_pattern_is_one_of_every_language(document: dict[str, Any]) -> None:
    """RE2 (Go) supports the least; Java and ECMAScript support everything that RE2 does."""
    patterns = [each for each in found(document, "pattern") if isinstance(each, str)]
    assert len(patterns) >= 3
    for pattern in patterns:
        re2.compile(pattern)
        assert pattern.startswith("^")
        assert pattern.endswith("$")


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """Names, tags, scopes and answers, for the docs page and for generated clients."""
    tags = {tag["name"] for tag in document["tags"]}
    names = set()
    for operation in operations(document):
        names.add(operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= tags
        assert [list(each) for each in operation["security"]] == [["bearer"]]
        assert {"400", "401", "403", "408", "431", "500", "503"} - {*operation["responses"]} <= (
            {"403"} if operation["operationId"] == "publishEvents" else set()
        )
        assert all("description" in each for each in operation.get("parameters", ()))
    assert len(names) == len(PATHS)
    assert document["servers"] == [
        {"url": "/", "description": "The publisher that this document comes from."}
    ]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_scopes_stand_with_their_operations(document: dict[str, Any]) -> None:
    needed = {
        operation["operationId"]: operation["security"][0]["bearer"]
        for operation in operations(document)
    }
    assert needed == {
        "publishEvent": [],
        "publishEvents": [],
        "readUser": ["users:read"],
        "readTopic": ["users:read"],
        "writePiece": [],
        "stopText": [],
        "readConnections": ["users:read"],
        "readPosition": [],
        "disconnectUser": ["users:disconnect"],
        "changeTopics": ["users:topics"],
        "revokeUser": ["users:disconnect"],
        "revokeToken": ["users:disconnect"],
    }


def test_every_body_and_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    bodies = 0
    for operation in operations(document):
        media = [
            each
            for part in (operation.get("requestBody", {}), *operation["responses"].values())
            for each in part.get("content", {}).values()
        ]
        for each in media:
            schema = {**each["schema"], "components": document["components"]}
            examples = [each["example"]] if "example" in each else []
            examples += [example["value"] for example in each.get("examples", {}).values()]
            assert examples, each
            for example in examples:
                jsonschema.validate(example, schema)
                bodies += 1
        for parameter in operation.get("parameters", ()):
            example = parameter.get("example", *parameter["schema"].get("examples", ()))
            jsonschema.validate(example, parameter["schema"])
    assert bodies > 50
