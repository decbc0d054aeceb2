"""The components of a document: each schema once, under a name of its own."""

from __future__ import annotations

import pytest

from clarion_contract.events.components import Components, Definitions, component_name


def test_what_a_schema_refers_to_becomes_a_component() -> None:
    source = Definitions("shop", {"Order": {"properties": {"next": {"$ref": "#/$defs/Order"}}}})
    components = Components()
    made = components.add({"items": {"$ref": "#/$defs/Order"}, "$defs": {}}, source)
    assert made == {"items": {"$ref": "#/components/schemas/ShopOrder"}}
    assert components.schemas == {
        "ShopOrder": {"properties": {"next": {"$ref": "#/components/schemas/ShopOrder"}}}
    }


def test_a_schema_that_is_named_twice_is_there_once() -> None:
    components = Components()
    source = Definitions("", {"A": {"type": "string"}})
    first, second = (components.add({"$ref": "x/A"}, source) for _ in range(2))
    assert first == second
    assert list(components.schemas) == ["A"]


def test_two_schemas_of_one_name_get_two_names() -> None:
    components = Components(taken=["Order"])
    nowhere = Definitions("", {})
    first = components.name("1", "order", {"type": "string"}, nowhere)
    second = components.name("2", "order", {"type": "integer"}, nowhere)
    assert (first, second) == (
        {"$ref": "#/components/schemas/Order2"},
        {"$ref": "#/components/schemas/Order3"},
    )


def test_what_leads_nowhere_may_be_anything() -> None:
    components = Components()
    nowhere = Definitions("", {})
    made = components.add(
        {"$ref": "nowhere", "title": "x", "$id": "y", "$dynamicRef": "#z"}, nowhere
    )
    assert made == {"title": "x"}
    assert components.add(True, nowhere) == {}
    assert components.add(False, nowhere) == {"not": {}}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("order.updated", "OrderUpdated"),
        ("ChatMessage-Input", "ChatMessageInput"),
        ("order.*", "OrderAny"),
        ("order.**", "OrderAll"),
        ("2fa/sent", "Of2faSent"),
        ("", "Of"),
    ],
)
def test_names(text: str, name: str) -> None:
    assert component_name(text) == name
