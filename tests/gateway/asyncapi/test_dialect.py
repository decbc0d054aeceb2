"""Schemas of 2020-12 in draft 7 take the same values, or more where draft 7 cannot say it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from clarion_gateway.asyncapi.dialect import in_draft_7


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"prefixItems": [{"type": "string"}], "items": False}, [["a"], [1], ["a", 1]]),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "null"}}, [["a", None], ["a", 1]]),
        ({"prefixItems": [{"type": "string"}]}, [["a", 1], [1]]),
        ({"items": {"prefixItems": [{"type": "string"}]}}, [[["a"]], [[1]]]),
        ({"dependentRequired": {"a": ["b"]}}, [{"a": 1}, {"a": 1, "b": 1}]),
        ({"dependentSchemas": {"a": {"required": ["c"]}}}, [{"a": 1}, {"a": 1, "c": 1}]),
        ({"$ref": "#/definitions/s", "maxLength": 1, "definitions": {"s": {"type": "string"}}}, ["a", "aa", 1]),
        (True, [1]),
        (False, [1]),
    ],
)  # fmt: skip
def test_the_same_values(schema: Any, values: list[Any]) -> None:
    old, new = (
        jsonschema.Draft7Validator(in_draft_7(schema)),
        jsonschema.Draft202012Validator(schema),
    )
    assert [old.is_valid(each) for each in values] == [new.is_valid(each) for each in values]


@pytest.mark.parametrize(
    "schema",
    [
        {"discriminator": {"propertyName": "kind", "mapping": {}}},
        {"unevaluatedProperties": False},
        {"minContains": 2},
    ],
)
def test_what_draft_7_does_not_have(schema: dict[str, Any]) -> None:
    assert in_draft_7(schema) == {}
