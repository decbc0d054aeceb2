"""Schemas stand where keywords say so, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.events.subschemas import with_subschemas

A, B = {"title": "a"}, {"title": "b"}


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"items": A}, [A]),
        ({"items": [A, B]}, [A, B]),
        ({"additionalProperties": False}, [False]),
        ({"properties": {"$ref": A, "x": True}}, [A, True]),
        ({"allOf": [A], "anyOf": [B], "not": A}, [A, B, A]),
        ({"$defs": {"a": A}, "dependentSchemas": {"x": B}}, [A, B]),
        ({"dependencies": {"x": ["y"], "z": A}}, [A]),
        ({"const": A, "enum": [A], "examples": [A], "default": A}, []),
        ({"properties": 3, "allOf": 3}, []),
    ],
)
def test_what_stands_below(schema: dict[str, Any], found: list[Any]) -> None:
    seen: list[Any] = []

    def see(each: Any) -> Any:
        seen.append(each)
        return {"seen": True}

    changed = with_subschemas(schema, see)
    assert seen == found
    assert str(changed).count("{'seen': True}") == len(found)
