"""The places in a JSON Schema at which other schemas stand.

Everything else is a value: ``{"const": {"$ref": "x"}}`` refers to nothing. Pure values, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any] | bool
"""A JSON Schema of draft 7 or newer."""

_SINGLE: Final = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if",
        "items", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_LISTS: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_MAPS: Final = frozenset(
    {
        "$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties",
        "properties",
    }
)  # fmt: skip


def with_subschemas(
    schema: Mapping[str, Any], change: Callable[[Schema], Schema]
) -> dict[str, Any]:
    """A copy of a schema in which each schema directly below it is changed.

    Example: ``with_subschemas({"items": {}}, lambda _: False) == {"items": False}``.
    """
    return {keyword: _changed(keyword, value, change) for keyword, value in schema.items()}


def _changed(keyword: str, value: Any, change: Callable[[Schema], Schema]) -> Any:  # noqa: ANN401
    if keyword in _MAPS and isinstance(value, Mapping):
        return {name: _one(each, change) for name, each in value.items()}
    if keyword in _LISTS and isinstance(value, list):
        return [_one(each, change) for each in value]
    return _one(value, change) if keyword in _SINGLE else value


def _one(value: Any, change: Callable[[Schema], Schema]) -> Any:  # noqa: ANN401
    return change(value) if isinstance(value, Mapping | bool) else value
