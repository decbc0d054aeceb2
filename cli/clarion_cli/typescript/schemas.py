"""TypeScript types from JSON Schemas.

A schema says more than a type can: bounds, patterns and conditions are left out, so the type takes
every value that the schema takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Name = Callable[[str], str]
"""The name of the type for a reference, such as ``#/components/schemas/Order``."""

ANY: Final = "unknown"
_NONE: Final = "never"
_OBJECT: Final = "Record<string, unknown>"
_SIMPLE: Final = {
    "boolean": "boolean",
    "integer": "number",
    "null": "null",
    "number": "number",
    "string": "string",
}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def type_of(schema: Any, name: Name, indent: str = "") -> str:  # noqa: ANN401 - any JSON
    """The type of the values that a schema takes.

    Args:
        indent: of the line on which the type begins.

    Example: ``type_of({"enum": ["a", None]}, name) == '"a" | null'``.
    """
    if not isinstance(schema, Mapping):
        return _NONE if schema is False else ANY
    if schema.get("not") == {}:
        return _NONE
    parts = [type_of(each, name, indent) for each in schema.get("allOf", [])]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            parts.append(union(type_of(each, name, indent) for each in schema[keyword]))
    own = _own_type(schema, name, indent)
    return _intersection([own, *parts])


def members_of(schema: Mapping[str, Any], name: Name, indent: str) -> list[str]:
    """The lines of an object's properties, for the inside of an interface."""
    lines: list[str] = []
    required = schema.get("required", [])
    properties = schema.get("properties", {})
    for key, each in properties.items():
        lines += comment_of(each, indent)
        optional = "" if key in required else "?"
        lines.append(f"{indent}{key_of(key)}{optional}: {type_of(each, name, indent)};")
    missing = [key for key in required if key not in properties]
    lines += [f"{indent}{key_of(key)}: {ANY};" for key in missing]
    if schema.get("patternProperties") or isinstance(schema.get("additionalProperties"), Mapping):
        lines.append(f"{indent}[key: string]: {ANY};")
    return lines


def has_members(schema: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a schema can be an interface: an object with properties, and nothing else."""
    if not isinstance(schema, Mapping) or schema.keys() & {"allOf", "anyOf", "oneOf", "$ref"}:
        return False
    is_object = schema.get("type", "object") == "object" and not schema.keys() & {"const", "enum"}
    return is_object and bool(schema.get("properties"))


def comment_of(schema: Any, indent: str = "") -> list[str]:  # noqa: ANN401 - any JSON
    """A schema's description as a comment; empty: it has none."""
    if not isinstance(schema, Mapping):
        return []
    return comment(str(schema.get("description", "")), indent, schema.get("deprecated") is True)


def comment(text: str, indent: str = "", deprecated: bool = False) -> list[str]:
    """The lines of a comment for editors; empty: there is nothing to say."""
    lines = text.replace("*/", "* /").strip().splitlines()
    if deprecated:
        lines.append("@deprecated")
    if len(lines) > 1:
        inner = [f"{indent} * {line}".rstrip() for line in lines]
        return [f"{indent}/**", *inner, f"{indent} */"]
    return [f"{indent}/** {line} */" for line in lines]


def key_of(name: str) -> str:
    """The key of a property: quoted where it must be."""
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def union(types: Iterable[str]) -> str:
    """The union of types, each once."""
    each = [*dict.fromkeys(types)]
    if ANY in each:
        return ANY
    kept = [one for one in each if one != _NONE]
    return " | ".join(kept) if kept else _NONE


def _intersection(types: Iterable[str]) -> str:
    each = [one for one in dict.fromkeys(types) if one != ANY]
    if _NONE in each:
        return _NONE
    if len(each) > 1:
        each = [one for one in each if one != _OBJECT] or each
    return " & ".join(map(_grouped, each)) if len(each) > 1 else each[0] if each else ANY


def _grouped(type_: str) -> str:
    return f"({type_})" if " | " in type_ and not type_.startswith("{") else type_


def _own_type(schema: Mapping[str, Any], name: Name, indent: str) -> str:
    """The type that a schema's own keywords give, apart from those that combine schemas."""
    if "$ref" in schema:
        return name(schema["$ref"])
    if "const" in schema:
        return literal(schema["const"])
    if "enum" in schema:
        return union(map(literal, schema["enum"]))
    kinds = schema.get("type")
    if kinds is None:
        kinds = _implied(schema)
    if isinstance(kinds, list):
        return union(_of_kind(kind, schema, name, indent) for kind in kinds)
    return ANY if kinds is None else _of_kind(kinds, schema, name, indent)


def _implied(schema: Mapping[str, Any]) -> str | None:
    """The type that most readers take for meant, where a schema names none."""
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else None


def _of_kind(kind: str, schema: Mapping[str, Any], name: Name, indent: str) -> str:
    if kind == "object":
        return _object(schema, name, indent)
    if kind == "array":
        return _array(schema, name, indent)
    return _SIMPLE.get(kind, ANY)


def _object(schema: Mapping[str, Any], name: Name, indent: str) -> str:
    if not schema.get("properties") and not schema.get("required"):
        values = schema.get("additionalProperties", True)
        if values is True or schema.get("patternProperties"):
            return _OBJECT
        return f"Record<string, {type_of(values, name, indent)}>"
    lines = members_of(schema, name, f"{indent}  ")
    return "\n".join(["{", *lines, f"{indent}}}"])


def _array(schema: Mapping[str, Any], name: Name, indent: str) -> str:
    items = schema.get("items", True)
    if not isinstance(items, list):
        return _list(type_of(items, name, indent))
    sure = schema.get("minItems", 0)
    places = [
        f"{_element(type_of(each, name, indent))}{'' if place < sure else '?'}"
        for place, each in enumerate(items)
    ]
    rest = schema.get("additionalItems", schema.get("maxItems") != len(items))
    if rest is not False:
        places.append(f"...{_list(type_of(rest, name, indent))}")
    return f"[{', '.join(places)}]"


def _list(type_: str) -> str:
    return f"{_element(type_)}[]"


def _element(type_: str) -> str:
    is_compound = " | " in type_ or " & " in type_
    return f"({type_})" if is_compound else type_


def literal(value: Any) -> str:  # noqa: ANN401 - any JSON
    """The type of one JSON value."""
    if isinstance(value, Mapping):
        members = "; ".join(f"{key_of(key)}: {literal(each)}" for key, each in value.items())
        return f"{{ {members} }}" if members else "Record<string, never>"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value)
