"""The schemas of one OpenAPI or AsyncAPI document, each under a name of its own.

Schemas come from several sources, such as an operator's files and an application's classes. Each
source knows what its own references mean; here they become references within the document. Pure
values, no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, Protocol

from clarion_contract.events.pointers import path_of
from clarion_contract.events.subschemas import Schema, with_subschemas

_REFERENCE: Final = "#/components/schemas/"
# Names and addresses that mean something in the schema's own document only.
_LEFT_OUT: Final = frozenset(
    {"$schema", "$id", "$anchor", "$dynamicAnchor", "$defs", "definitions"}
)
_WORD: Final = re.compile(r"[A-Za-z0-9]+")


class Source(Protocol):
    """Knows the schemas that a schema's references name."""

    def find(self, reference: str) -> Found | None:
        """The schema that a reference names; None: it is not known."""
        ...


class Found(NamedTuple):
    """A schema that a reference names.

    Attributes:
        key: the same for the same schema, also if other references name it.
        name: for its component.
        source: knows its own references.
    """

    key: str
    name: str
    schema: Schema
    source: Source


class Components:
    """The schemas of a document.

    Attributes:
        schemas: the components by name.

    Args:
        taken: names that other components of the document have.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self.schemas: dict[str, Any] = {}
        self._taken = frozenset(taken)
        self._names: dict[str, str] = {}

    def add(self, schema: Schema, source: Source) -> dict[str, Any]:
        """The schema for the document; all that it refers to becomes a component."""
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        kept = {key: value for key, value in schema.items() if key not in _LEFT_OUT}
        reference = kept.pop("$ref", None)
        kept.pop("$dynamicRef", None)
        made = with_subschemas(
            kept, lambda each: each if isinstance(each, bool) else self.add(each, source)
        )
        if reference is None:
            return made
        found = source.find(reference)
        return made if found is None else {"$ref": self._component(found), **made}

    def name(self, key: str, name: str, schema: Schema, source: Source) -> dict[str, Any]:
        """Make the schema a component; return a reference to it.

        Args:
            key: the same for the same schema.
            name: wished for; another component may have it already.
        """
        return {"$ref": self._component(Found(key, name, schema, source))}

    def _component(self, found: Found) -> str:
        name = self._names.get(found.key)
        if name is None:
            taken = self.schemas.keys() | self._taken
            name = self._names[found.key] = free_name(component_name(found.name), taken)
            self.schemas[name] = {}  # it may refer to itself
            self.schemas[name] = self.add(found.schema, found.source)
        return f"{_REFERENCE}{name}"


class Definitions:
    """A source whose references end with the name of a definition: ``#/$defs/Order``.

    Args:
        name: of the source, with which the names of its components begin.
    """

    def __init__(self, name: str, definitions: Mapping[str, Schema]) -> None:
        self._name = name
        self._definitions = definitions

    def find(self, reference: str) -> Found | None:
        """The definition with that name."""
        *_, name = path_of(f"/{reference}")
        schema = self._definitions.get(name)
        return (
            None
            if schema is None
            else Found(f"{self._name}/{name}", f"{self._name}.{name}", schema, self)
        )


def component_name(text: str) -> str:
    """A name that OpenAPI, AsyncAPI and programming languages allow.

    Example: ``component_name("order.updated") == "OrderUpdated"``.
    """
    spelt = re.sub(r"\*+", lambda stars: ".All." if len(stars[0]) > 1 else ".Any.", text)
    name = "".join(word[0].upper() + word[1:] for word in _WORD.findall(spelt))
    return name if name and not name[0].isdigit() else f"Of{name}"


def free_name(wished: str, taken: Collection[str]) -> str:
    """The wished name, with a number if it is taken.

    Example: ``free_name("Order", {"Order"}) == "Order2"``.
    """
    free, number = wished, 2
    while free in taken:
        free, number = f"{wished}{number}", number + 1
    return free
