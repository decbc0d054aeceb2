"""Schemas of what handlers take and return."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
import pytest
from pydantic import BaseModel, Field, computed_field

from clarion_contract.events.components import Components
from clarion_gateway.asyncapi.annotations import Annotation, schemas_of


class Order(BaseModel):
    id: int
    lines: list[Line] = []


class Line(BaseModel):
    text: str


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Pet(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Room(msgspec.Struct):
    name: str
    parent: Room | None = None


@dataclasses.dataclass
class Found:
    orders: list[Order]


class Odd:
    """No JSON form is known of it."""


class Opaque(BaseModel, arbitrary_types_allowed=True):
    odd: Odd


def made(*kinds: Any, mode: Any = "validation") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    components = Components()
    schemas = schemas_of(components, [Annotation(kind, mode) for kind in kinds])
    return schemas, components.schemas


def takes(kind: Any, value: object) -> bool:
    (schema,), schemas = made(kind)
    return bool(
        jsonschema.Draft202012Validator({**schema, "components": {"schemas": schemas}}).is_valid(
            value
        )
    )


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Order, {"id": 1, "lines": [{"text": "x"}]}, {"id": 1, "lines": [{}]}),
        (Room, {"name": "a", "parent": {"name": "b"}}, {"name": "a", "parent": {}}),
        (Found, {"orders": [{"id": 1}]}, {"orders": [{"lines": []}]}),
        (list[Room], [{"name": "a"}], [{}]),
        (dict[str, int], {"a": 1}, {"a": "b"}),
        (tuple[int, str], [1, "a"], ["a", 1]),
        (Pet, {"pet": {"kind": "cat"}}, {"pet": {"kind": "cow"}}),
        (Literal["a"], "a", "b"),
        (type(None), None, 1),
    ],
)
def test_what_fits(kind: Any, good: object, bad: object) -> None:
    assert takes(kind, good)
    assert not takes(kind, bad)


@pytest.mark.parametrize("kind", [Any, Odd, Opaque, list[Odd]])
def test_what_has_no_schema_may_be_anything(kind: Any) -> None:
    assert takes(kind, [{"any": "thing"}])


def test_a_class_that_several_use_is_there_once() -> None:
    _, schemas = made(Order, list[Order], Found, Order)
    assert sorted(schemas) == ["Found", "Line", "Order"]


def test_classes_of_one_name_get_two_names() -> None:
    class Line(msgspec.Struct):
        n: int

    (first, second), schemas = made(Order, Line)
    assert first != second
    assert len(schemas) == 3


def test_a_model_that_is_written_otherwise_than_it_is_read() -> None:
    class Made(BaseModel):
        @computed_field  # type: ignore[prop-decorator]
        @property
        def n(self) -> int:
            return 1

    components = Components()
    read, written = schemas_of(
        components, [Annotation(Made, "validation"), Annotation(Made, "serialization")]
    )
    assert read != written
    assert sorted(components.schemas) == ["MadeInput", "MadeOutput"]


def test_a_model_within_a_data_class_is_as_it_is_written() -> None:
    class Counted(BaseModel):
        @computed_field  # type: ignore[prop-decorator]
        @property
        def n(self) -> int:
            return 1

    _, schemas = made(list[Counted], mode="serialization")
    assert list(schemas["Counted"]["properties"]) == ["n"]
