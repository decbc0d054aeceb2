"""The schemas of a catalogue, as a source of an OpenAPI or AsyncAPI document's schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from clarion_contract.events.catalogue import Catalogue, document_uri
from clarion_contract.events.components import Components, Found
from clarion_contract.events.declaration import Declaration
from clarion_contract.events.pointers import path_of
from clarion_contract.events.subschemas import Schema

_EXTENSION: Final = re.compile(r"\.(json|ya?ml)$")


def declared_data(
    components: Components, catalogue: Catalogue, declaration: Declaration
) -> dict[str, Any]:
    """The schema of a declared event's data, in the document of these components."""
    schema = declaration.schema
    if schema is None:
        return {}
    source = _Resource(catalogue, document_uri(declaration.source), schema)
    if isinstance(schema, bool):
        return components.add(schema, source)
    return components.name(_key(schema, ""), declaration.type, schema, source)


class _Resource:
    """A schema at an address: its references are relative to it."""

    def __init__(self, catalogue: Catalogue, uri: str, root: Any) -> None:  # noqa: ANN401
        own = root.get("$id") if isinstance(root, Mapping) else None
        self._catalogue = catalogue
        self._uri = _join(uri, own) if isinstance(own, str) else uri
        self._root = root

    def find(self, reference: str) -> Found | None:
        uri, _, pointer = _join(self._uri, reference).partition("#")
        if uri == self._uri:
            return self.at(pointer)
        document = self._catalogue.document(uri)
        return None if document is None else _Resource(self._catalogue, uri, document).at(pointer)

    def at(self, pointer: str) -> Found | None:
        """The schema that a JSON pointer leads to."""
        schema = _at(self._root, pointer)
        if schema is None:
            return None
        steps = path_of(unquote(pointer))
        name = steps[-1] if steps else _EXTENSION.sub("", PurePosixPath(unquote(self._uri)).name)
        return Found(_key(self._root, pointer), name, schema, self)


def _key(root: Any, pointer: str) -> str:  # noqa: ANN401
    """The same for the same schema: the catalogue keeps each document once."""
    return f"{id(root)}#{pointer}"


def _join(base: str, reference: str) -> str:
    if reference.startswith("#"):
        return base.partition("#")[0] + reference
    if urlsplit(reference).scheme:
        return reference
    scheme, _, rest = base.partition(":")
    # `urljoin` joins only addresses of schemes that it knows.
    return urljoin(f"http:{rest}", reference).replace("http", scheme, 1)


def _at(root: Any, pointer: str) -> Schema | None:  # noqa: ANN401 - any JSON
    """The schema that a JSON pointer (RFC 6901) in a fragment names."""
    value = root
    for step in path_of(unquote(pointer)):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value if isinstance(value, Mapping | bool) else None
