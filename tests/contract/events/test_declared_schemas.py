"""The schemas of a catalogue, with all that they refer to, in one document."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from clarion_contract.events.catalogue import parse_catalogue
from clarion_contract.events.components import Components
from clarion_contract.events.declared_schemas import declared_data

NUMBER = {"type": "integer"}
OBJECT = {"type": "object"}


def document(documents: dict[str, Any], type_: str) -> tuple[Any, dict[str, Any]]:
    """The schema of a type's data, and all components."""
    catalogue = parse_catalogue(documents)
    declaration = catalogue.find(type_)
    assert declaration is not None
    components = Components()
    return declared_data(components, catalogue, declaration), components.schemas


def takes(documents: dict[str, Any], type_: str, value: object) -> bool:
    data, schemas = document(documents, type_)
    whole = {**data, "components": {"schemas": schemas}}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(value))


@pytest.mark.parametrize(
    "documents",
    [
        {"a.json": {"$defs": {"n": NUMBER}, "properties": {"n": {"$ref": "#/$defs/n"}}}},
        {"a.json": {"properties": {"n": {"$ref": "n.json"}}}, "n.json": NUMBER},
        {"a.json": {"properties": {"n": {"$ref": "n.json#/$defs/x~1y"}}}, "n.json": {**OBJECT, "$defs": {"x/y": NUMBER}}},
        {"a.json": {"properties": {"n": {"$ref": "https://shop.example/n"}}}, "n.json": {"$id": "https://shop.example/n", **NUMBER}},
        {"a.json": {"$id": "https://shop.example/a", "properties": {"n": {"$ref": "n"}}}, "n.json": {"$id": "https://shop.example/n", **NUMBER}},
        {"all.yaml": {"events": {"a": {"schema": {"properties": {"n": {"$ref": "n.json"}}}}}}, "n.json": NUMBER},
        {"a.json": {"properties": {"n": {"$ref": "all.yaml#/events/n/schema"}}}, "all.yaml": {"events": {"n": {"schema": NUMBER}}}},
        {"a.json": {"properties": {"n": {"$ref": "n.json"}}}, "n.json": {"$ref": "m.json"}, "m.json": NUMBER},
        {"a b.json": {"x-type": "a", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": NUMBER}}},
    ],
)  # fmt: skip
def test_references(documents: dict[str, Any]) -> None:
    assert takes(documents, "a", {"n": 1})
    assert not takes(documents, "a", {"n": "one"})


def test_a_schema_that_holds_itself() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}}}
    data, schemas = document({"tree.json": tree}, "tree")
    assert data == {"$ref": "#/components/schemas/Tree"}
    assert schemas["Tree"]["properties"]["left"] == data
    assert list(schemas) == ["Tree"]


def test_a_declared_event_that_another_refers_to_is_there_once() -> None:
    documents = {"a.json": {"items": {"$ref": "b.json"}}, "b.json": NUMBER}
    catalogue = parse_catalogue(documents)
    components = Components()
    for declaration in catalogue:
        declared_data(components, catalogue, declaration)
    assert list(components.schemas) == ["A", "B"]


@pytest.mark.parametrize(("schema", "expected"), [(None, {}), (True, {}), (False, {"not": {}})])
def test_events_without_a_schema(schema: object, expected: object) -> None:
    documents = {"events.yaml": {"events": {"a": {"schema": schema}}}}
    assert document(documents, "a") == (expected, {})
