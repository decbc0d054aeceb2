"""TypeScript types of JSON Schemas. tests/clients/js/test_types.py gives such types to a compiler."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_cli.typescript.schemas import comment, type_of

ORDER = {"$ref": "#/components/schemas/Order"}


def name(reference: str) -> str:
    return reference.rpartition("/")[2]


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        ({}, "unknown"),
        (True, "unknown"),
        (False, "never"),
        ({"not": {}}, "never"),
        ({"type": "integer", "minimum": 1}, "number"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"const": "a"}, '"a"'),
        ({"const": {"a": [1, None]}}, "{ a: [1, null] }"),
        ({"enum": ["a", 1, None, "a"], "type": "string"}, '"a" | 1 | null'),
        (ORDER, "Order"),
        ({"type": "array"}, "unknown[]"),
        ({"type": "array", "items": ORDER}, "Order[]"),
        ({"items": {"enum": [1, 2]}}, "(1 | 2)[]"),
        ({"type": "array", "items": [ORDER, {}], "minItems": 1, "maxItems": 2}, "[Order, unknown?]"),
        ({"type": "array", "items": [ORDER], "additionalItems": False}, "[Order?]"),
        ({"type": "array", "items": [ORDER], "minItems": 1}, "[Order, ...unknown[]]"),
        ({"type": "array", "items": [{"enum": [1, 2]}], "maxItems": 1}, "[(1 | 2)?]"),
        ({"type": "object"}, "Record<string, unknown>"),
        ({"type": "object", "additionalProperties": ORDER}, "Record<string, Order>"),
        ({"type": "object", "additionalProperties": False}, "Record<string, never>"),
        ({"properties": {"a": ORDER}}, "{\n  a?: Order;\n}"),
        ({"properties": {"a-b": True}, "required": ["a-b", "c"]}, '{\n  "a-b": unknown;\n  c: unknown;\n}'),
        ({"properties": {"a": True}, "additionalProperties": ORDER}, "{\n  a?: unknown;\n  [key: string]: unknown;\n}"),
        ({"anyOf": [ORDER, {"type": "null"}]}, "Order | null"),
        ({"anyOf": [ORDER, {}]}, "unknown"),
        ({"allOf": [ORDER, {"type": "object"}]}, "Order"),
        ({"allOf": [ORDER, {"anyOf": [{"const": 1}, ORDER]}]}, "Order & (1 | Order)"),
        ({"allOf": [ORDER], "type": "object", "properties": {"a": True}}, "{\n  a?: unknown;\n} & Order"),
    ],
)  # fmt: skip
def test_types(schema: Any, type_: str) -> None:
    assert type_of(schema, name) == type_


def test_comments_cannot_end_early() -> None:
    assert comment("a */ b") == ["/** a * / b */"]
    assert comment("a\n\nb", "  ", deprecated=True) == [
        "  /**", "   * a", "   *", "   * b", "   * @deprecated", "   */",
    ]  # fmt: skip
    assert comment("") == []
