"""The catalogue of declared events: which types there are, and what each may hold.

A document of a catalogue is one of two things:

- a list of events: ``{"events": {"order.updated": {"schema": {...}, "audiences": ["user"]}}}``;
- a JSON Schema of one event's data. Its file's name is the event's type.

Schemas may refer to each other by the names of their files. Pure values, no I/O: a reference that
leads out of the catalogue is a mistake, and nothing is ever fetched.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import jsonschema_rs
import msgspec
from msgspec import Struct

from clarion_contract.events.declaration import Declaration, check_allowed
from clarion_contract.events.event import InvalidType, check_type
from clarion_contract.events.pointers import json_pointer
from clarion_contract.events.topic import InvalidTopic, check_pattern, covers

_BASE: Final = "catalogue:///"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXTENSION: Final = re.compile(r"\.(json|ya?ml)$")
# The library says it in different words, depending on how it comes upon the reference.
_MISSING: Final = re.compile(r"Resource '([^']+)' is not present in a registry")
_AUDIENCES: Final = "x-audiences"
_TYPE: Final = "x-type"
# JSON Schema 2020-12: the keywords of its vocabularies that do not begin with ``$``.
_VOCABULARY: Final = (
    "allOf anyOf oneOf not if then else dependentSchemas prefixItems items contains properties "
    "patternProperties additionalProperties propertyNames unevaluatedItems unevaluatedProperties "
    "type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength "
    "minLength pattern maxItems minItems uniqueItems maxContains minContains maxProperties "
    "minProperties required dependentRequired title description default deprecated readOnly "
    "writeOnly examples format contentEncoding contentMediaType contentSchema"
)
_KEYWORDS: Final = frozenset(_VOCABULARY.split())
# Types that were looked up. Callers choose types, so the number is bounded.
_KNOWN_MAX: Final = 4_096


class InvalidCatalogue(ValueError):
    """Files that are no catalogue.

    Attributes:
        problems: one line for each problem, which names the file.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class _Entry(Struct, forbid_unknown_fields=True):
    """An event in a list of events."""

    schema: dict[str, Any] | bool | None = None
    audiences: list[str] = []
    description: str = ""
    example: Any = msgspec.UNSET
    examples: list[Any] = []
    deprecated: bool = False


class Catalogue:
    """The declarations, by type.

    Args:
        declarations: a type, or a pattern, stands in one of them only.
        documents: plain JSON values by their addresses, for references.
    """

    def __init__(
        self,
        declarations: Sequence[Declaration] = (),
        documents: Mapping[str, Any] | None = None,
    ) -> None:
        self._documents = documents or {}
        self._exact = {each.type: each for each in declarations if "*" not in each.type}
        self._patterns = sorted(
            (each for each in declarations if "*" in each.type), key=_by_precision
        )
        self._known: dict[str, Declaration | None] = {}

    def __iter__(self) -> Iterator[Declaration]:
        yield from sorted(self._exact.values(), key=lambda each: each.type)
        yield from self._patterns

    def __len__(self) -> int:
        return len(self._exact) + len(self._patterns)

    def find(self, type_: str) -> Declaration | None:
        """The declaration of a type: its own, or that of the most precise pattern."""
        found = self._exact.get(type_)
        if found is not None or not self._patterns:
            return found
        try:
            return self._known[type_]
        except KeyError:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            found = next((each for each in self._patterns if covers(each.type, type_)), None)
            self._known[type_] = found
            return found

    def document(self, uri: str) -> Any:  # noqa: ANN401 - any JSON
        """The document at an address (`document_uri`, or its own ``$id``); None: there is none."""
        return self._documents.get(uri)

    def wrong_examples(self) -> list[str]:
        """One line for each example that does not fit its own schema."""
        return [
            f"{each.source}: {each.type}: expected {wrong.expected} at "
            f"{wrong.pointer.replace('/data', '/example', 1)}, got {wrong.got}"
            for each in self
            for example in each.examples
            for wrong in each.check_data(msgspec.json.encode(example))
        ]


def parse_catalogue(documents: Mapping[str, Any]) -> Catalogue:
    """The catalogue in some documents.

    Args:
        documents: plain JSON values by the names of their files.

    Raises:
        InvalidCatalogue: with a line for each problem.

    Example: ``parse_catalogue({"order.updated.json": {"type": "object"}})``.
    """
    found: dict[str, Declaration] = {}
    problems: list[str] = []
    known = _by_uri(documents)
    retrieve = _retriever(known)
    for file, document in documents.items():
        for declaration in _declarations(file, document, problems):
            same = found.get(declaration.type)
            if same is not None:
                problems.append(f"{file}: {declaration.type} is declared in {same.source} already")
            else:
                found[declaration.type] = declaration
    compiled = [_compiled(each, retrieve, problems) for each in found.values()]
    if problems:
        raise InvalidCatalogue(problems)
    return Catalogue(compiled, known)


def document_uri(file: str) -> str:
    """The address of a document of a catalogue, by the name of its file."""
    return _BASE + quote(file)


def _by_uri(documents: Mapping[str, Any]) -> dict[str, Any]:
    """Documents by the names of their files, and by their own ``$id``."""
    known = {document_uri(file): document for file, document in documents.items()}
    for document in documents.values():
        if isinstance(document, dict) and isinstance(document.get("$id"), str):
            known[document["$id"]] = document
    return known


def _retriever(known: Mapping[str, Any]) -> Callable[[str], Any]:
    """Finds documents by their addresses, and fetches nothing."""

    def retrieve(uri: str) -> Any:  # noqa: ANN401 - the library's type
        if uri not in known:
            raise ValueError("not in the catalogue")  # `_reason` says more
        return known[uri]

    return retrieve


def _declarations(file: str, document: Any, problems: list[str]) -> Iterator[Declaration]:  # noqa: ANN401
    if isinstance(document, dict) and "events" in document:
        events = {} if document["events"] is None else document["events"]
        if not isinstance(events, dict):
            problems.append(f"{file}: expected a map of events by type in events")
            return
        for type_, entry in events.items():
            try:
                yield _of_entry(file, str(type_), entry)
            except ValueError as error:
                problems.append(f"{file}: {type_}: {error}")
    elif _may_be_schema(document):
        try:
            yield _of_schema(file, document)
        except ValueError as error:
            problems.append(f"{file}: {error}")
    else:
        problems.append(f'{file}: expected {{"events": {{...}}}} or a JSON Schema')


def _may_be_schema(document: Any) -> bool:  # noqa: ANN401
    """Whether a document has a keyword of JSON Schema: one that only has others is misspelt."""
    if not isinstance(document, dict) or not document:
        return isinstance(document, dict | bool)
    return any(name in _KEYWORDS or name.startswith(("$", "x-")) for name in document)


def _of_entry(file: str, type_: str, value: Any) -> Declaration:  # noqa: ANN401
    try:
        entry = msgspec.convert(value if value is not None else {}, _Entry)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    single = () if entry.example is msgspec.UNSET else (entry.example,)
    return Declaration(
        _checked_type(type_),
        entry.schema,
        tuple(map(check_allowed, entry.audiences)),
        entry.description,
        (*single, *entry.examples),
        entry.deprecated,
        file,
    )


def _of_schema(file: str, schema: dict[str, Any] | bool) -> Declaration:
    """A declaration from a schema: JSON Schema's own annotations say what a list's fields say."""
    notes = schema if isinstance(schema, dict) else {}
    audiences = notes.get(_AUDIENCES, [])
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise ValueError(f"expected a list of audiences in {_AUDIENCES}")
    examples = notes.get("examples", [])
    return Declaration(
        _checked_type(str(notes.get(_TYPE, _EXTENSION.sub("", file)))),
        schema,
        tuple(map(check_allowed, audiences)),
        str(notes.get("description", notes.get("title", ""))),
        tuple(examples) if isinstance(examples, list) else (),
        notes.get("deprecated") is True,
        file,
    )


def _checked_type(type_: str) -> str:
    try:
        return check_pattern(type_) if "*" in type_ else check_type(type_)
    except (InvalidTopic, InvalidType):
        raise ValueError(
            f"expected an event's type, such as order.updated, or a pattern in which a segment is "
            f"* or the last one **, got {type_[:64]!r}"
        ) from None


def _compiled(
    declaration: Declaration, retrieve: Callable[[str], Any], problems: list[str]
) -> Declaration:
    schema = declaration.schema
    if schema is None:
        return declaration
    dialect = schema.get("$schema", _DIALECT) if isinstance(schema, Mapping) else _DIALECT
    where = f"{declaration.source}: {declaration.type}"
    if str(dialect).rstrip("#") != _DIALECT:
        problems.append(f"{where}: expected $schema {_DIALECT}, got {str(dialect)[:80]!r}")
        return declaration
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema if isinstance(schema, bool) else dict(schema),
            validate_formats=True,
            retriever=retrieve,
            base_uri=document_uri(declaration.source),
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        problems.append(f"{where}: {_reason(error)}")
        return declaration
    return dataclasses.replace(declaration, validator=validator)


def _reason(error: Exception) -> str:
    """The first line of a library's error, and where in the schema it is."""
    text = (getattr(error, "message", None) or str(error)).splitlines()[0]
    missing = _MISSING.match(text)
    if missing is not None:
        text = f"{missing[1].removeprefix(_BASE)} is not in the catalogue, and nothing is fetched"
    path = getattr(error, "instance_path", None)
    return f"{text} at {json_pointer(*path)}" if path else text[:300]


def _by_precision(declaration: Declaration) -> tuple[bool, int, int, str]:
    """Patterns for fewer types first: no ``**``, few ``*``, many segments."""
    segments = declaration.type.split(".")
    return "**" in segments, segments.count("*"), -len(segments), declaration.type
