"""Writes JSON Schemas of 2020-12 as those of AsyncAPI 3, which are a superset of draft 7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clarion_contract.events.subschemas import Schema, with_subschemas


def in_draft_7(schema: Schema) -> Schema:
    """The same schema in draft 7; what draft 7 cannot say is left out.

    Example: ``{"prefixItems": [{}], "items": False}`` becomes
    ``{"items": [{}], "additionalItems": False}``.
    """
    if isinstance(schema, bool):
        return schema
    made = with_subschemas(schema, in_draft_7)
    _tuples(made)
    _dependencies(made)
    # A string in AsyncAPI, and an object in OpenAPI and pydantic.
    if isinstance(made.get("discriminator"), Mapping):
        del made["discriminator"]
    for keyword in ("unevaluatedItems", "unevaluatedProperties", "minContains", "maxContains"):
        made.pop(keyword, None)
    # Beside `$ref`, draft 7 ignores everything.
    if "$ref" in made and len(made) > 1:
        reference = {"$ref": made.pop("$ref")}
        made["allOf"] = [reference, *made.get("allOf", [])]
    return made


def _tuples(schema: dict[str, Any]) -> None:
    if "prefixItems" in schema:
        rest = schema.pop("items", None)
        schema["items"] = schema.pop("prefixItems")
        if rest is not None:
            schema["additionalItems"] = rest


def _dependencies(schema: dict[str, Any]) -> None:
    found = {**schema.pop("dependentSchemas", {}), **schema.pop("dependentRequired", {})}
    if found:
        schema["dependencies"] = found
