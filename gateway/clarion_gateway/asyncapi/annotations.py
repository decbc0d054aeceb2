"""The JSON Schemas of handlers' annotations: pydantic models, and all that msgspec knows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import models_json_schema

from clarion_contract.events.components import Components, Found
from clarion_contract.events.subschemas import Schema

_STRUCT: Final = "struct/"
_MODEL: Final = "model/"
_NESTED: Final = "nested/"
# It leads nowhere. msgspec refuses an empty schema.
_ANYTHING: Final = {"$ref": "nothing"}


class Annotation(NamedTuple):
    """An annotation, and whether its values are decoded or encoded."""

    kind: Any
    mode: Literal["validation", "serialization"]


def schemas_of(components: Components, annotations: Sequence[Annotation]) -> list[dict[str, Any]]:
    """The schema of each annotation, in the document of these components.

    Classes of one name get different names if all annotations are given at once. A type that has no
    schema may be any JSON.
    """
    nested: list[Annotation] = []
    plain = [each for each in annotations if not _is_model(each.kind)]
    schemas, structs = _plain_schemas([each.kind for each in plain], nested)
    models = [each for each in (*annotations, *nested) if _is_model(each.kind)]
    by_model, definitions = _model_schemas(models)
    source = _Classes(
        {**structs, **definitions},
        {f"{_NESTED}{index}": by_model[each] for index, each in enumerate(nested)},
    )
    of_plain = iter(schemas)
    return [
        components.add(by_model[each] if _is_model(each.kind) else next(of_plain), source)
        for each in annotations
    ]


class _Classes:
    """A source that knows the classes of an application.

    Args:
        schemas: by reference.
        nested: the schemas of models within what msgspec knows, by reference.
    """

    def __init__(self, schemas: Mapping[str, Schema], nested: Mapping[str, Schema]) -> None:
        self._schemas = schemas
        self._nested = nested

    def find(self, reference: str) -> Found | None:
        nested = self._nested.get(reference)
        if isinstance(nested, Mapping):
            reference = nested.get("$ref", reference)
        schema = self._schemas.get(reference)
        name = reference.partition("/")[2]
        return None if schema is None else Found(reference, name, schema, self)


def _plain_schemas(
    kinds: Sequence[Any], nested: list[Annotation]
) -> tuple[Sequence[Schema], dict[str, Schema]]:
    """The schemas of types that msgspec knows, and of the classes within, by reference.

    Args:
        nested: takes in the models that these types hold.
    """

    def of_others(kind: Any) -> dict[str, Any]:  # noqa: ANN401
        if not _is_model(kind):
            return _ANYTHING
        nested.append(Annotation(kind, "serialization"))
        return {"$ref": f"{_NESTED}{len(nested) - 1}"}

    known = [kind if _has_schema(kind) else Any for kind in kinds]
    schemas, classes = msgspec.json.schema_components(
        known, schema_hook=of_others, ref_template=f"{_STRUCT}{{name}}"
    )
    return schemas, {f"{_STRUCT}{name}": schema for name, schema in classes.items()}


def _has_schema(kind: Any) -> bool:  # noqa: ANN401
    try:
        msgspec.json.schema(kind, schema_hook=lambda _: _ANYTHING)
    except (TypeError, RecursionError):
        return False
    return True


def _model_schemas(
    models: Sequence[Annotation],
) -> tuple[dict[Annotation, Schema], dict[str, Schema]]:
    """The schemas of models, and of the classes within, by reference."""
    known = [each for each in models if _is_known(each)]
    found, all_of_them = models_json_schema(known, ref_template=f"{_MODEL}{{model}}")
    schemas: dict[Annotation, Schema] = {each: {} for each in models}
    schemas |= {Annotation(*each): schema for each, schema in found.items()}
    definitions = all_of_them.get("$defs", {})
    return schemas, {f"{_MODEL}{name}": schema for name, schema in definitions.items()}


def _is_known(model: Annotation) -> bool:
    try:
        model.kind.model_json_schema(mode=model.mode)
    except (PydanticUserError, RecursionError):
        return False
    return True


def _is_model(kind: Any) -> bool:  # noqa: ANN401
    return inspect.isclass(kind) and issubclass(kind, BaseModel)
