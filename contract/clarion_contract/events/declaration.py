"""One declared event: the schema of its data, and the audiences that may receive it.

`clarion_contract.events.catalogue` reads declarations from an operator's files. Pure values, no
I/O: a schema never fetches anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jsonschema_rs
import msgspec

from clarion_contract.events.audience import KINDS, Audience
from clarion_contract.events.pointers import json_pointer
from clarion_contract.events.topic import covers

_SHOWN_MAX_CHARACTERS: Final = 80
_VIOLATIONS_MAX: Final = 10
# What a keyword asks for, where its name and value do not say it.
_EXPECTED: Final[Mapping[str, str]] = {
    "additionalProperties": "no field of that name",
    "anyOf": "a value that fits one of the alternatives (anyOf)",
    "contains": "an item that fits `contains`",
    "dependentRequired": "the fields that belong together (dependentRequired)",
    "falseSchema": "no value here",
    "not": "a value that does not fit `not`",
    "oneOf": "a value that fits one alternative, and one only (oneOf)",
    "propertyNames": "other names of fields (propertyNames)",
    "required": "a value",
    "unevaluatedItems": "no further items",
    "unevaluatedProperties": "no field of that name",
    "uniqueItems": "items that all differ",
}


class Violation(NamedTuple):
    """One way in which an event differs from its declaration.

    Attributes:
        pointer: where, as a JSON pointer (RFC 6901) into the event.
        expected: what the declaration says, in words.
        got: what stands there; long values are described, not repeated.
    """

    pointer: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declared event.

    Attributes:
        type: a type, or a pattern of types such as ``order.*``.
        schema: of the data: JSON Schema 2020-12; None: any JSON.
        audiences: kinds of audiences, topics and patterns of topics (``topic:order.*``) that may
            receive the event; empty: any.
        examples: data that fit the schema.
        deprecated: producers should stop to publish it.
        source: the file that it comes from.
    """

    type: str
    schema: Mapping[str, Any] | bool | None = None
    audiences: tuple[str, ...] = ()
    description: str = ""
    examples: tuple[Any, ...] = ()
    deprecated: bool = False
    source: str = ""
    validator: jsonschema_rs.Validator | None = field(default=None, repr=False, compare=False)

    def check(self, audience: Audience, data: bytes) -> list[Violation]:
        """The faults of an event of this type; empty: it has none.

        Args:
            data: JSON text in UTF-8.
        """
        found = []
        if self.audiences and not any(_allows(each, audience) for each in self.audiences):
            got = f"{audience.kind}:{audience.name}" if audience.named else audience.kind
            allowed = f"an audience out of: {', '.join(self.audiences)}"
            found.append(Violation("/audience", allowed, _cut(got)))
        return found + self.check_data(data)

    def check_data(self, data: bytes) -> list[Violation]:
        """The faults of some data; empty: they have none."""
        if self.validator is None:
            return []
        try:
            value = msgspec.json.decode(data)
            if self.validator.is_valid(value):
                return []
            return _violations(self.validator, value)
        except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
            expected = "data that a schema can check: numbers of 64 bits, nested less deep"
            return [Violation("/data", expected, _cut(str(error)))]


def check_allowed(text: str) -> str:
    """Return an entry of a list of allowed audiences unchanged, if it can be one.

    Raises:
        ValueError: it names no kind of audience, or narrows a kind that has no patterns.
    """
    kind, colon, pattern = text.partition(":")
    row = KINDS.get(kind)
    if row is None:
        raise ValueError(f"expected audiences out of {', '.join(KINDS)}, got {text!r}")
    if colon and (row.naming is None or row.naming.covers is None or not pattern):
        raise ValueError(f"expected {kind} without a name, got {text!r}")
    return text


def _allows(allowed: str, audience: Audience) -> bool:
    kind, colon, pattern = allowed.partition(":")
    return kind == audience.kind and (not colon or covers(pattern, audience.name))


def _violations(validator: jsonschema_rs.Validator, value: Any) -> list[Violation]:  # noqa: ANN401
    found = []
    for error in validator.iter_errors(value):
        found.append(_violation(error))
        if len(found) == _VIOLATIONS_MAX:
            break
    return found


def _violation(error: jsonschema_rs.ValidationError) -> Violation:
    path: list[str | int] = ["data", *error.instance_path]
    keyword = error.kind.name
    value = error.kind.value
    got = describe(error.instance)
    if keyword == "required":
        path.append(value)
        got = "nothing"
    elif keyword in {"additionalProperties", "unevaluatedProperties"} and value:
        path.append(value[0])
        got = "a field that the schema does not have"
    pointer = json_pointer(*(_cut(str(step)) for step in path))
    return Violation(pointer, _expected(keyword, value), got)


def _expected(keyword: str, value: Any) -> str:  # noqa: ANN401 - any keyword's value
    if keyword in _EXPECTED:
        return _EXPECTED[keyword]
    if keyword == "type":
        return f"a value of type {' or '.join(value if isinstance(value, list) else [value])}"
    return _cut(f"{keyword} {msgspec.json.encode(value, enc_hook=str).decode()}")


def describe(value: Any) -> str:  # noqa: ANN401 - any JSON
    """A JSON value as a refusal shows it: short values unchanged, others described."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = msgspec.json.encode(value, enc_hook=str).decode()
    if len(text) <= _SHOWN_MAX_CHARACTERS // 2:
        return text
    return f"a string of {len(value)} characters" if isinstance(value, str) else "a long number"


def _cut(text: str) -> str:
    cut = len(text) > _SHOWN_MAX_CHARACTERS
    return text[:_SHOWN_MAX_CHARACTERS] + "…" if cut else text
