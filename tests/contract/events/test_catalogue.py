"""Catalogues: which declaration a type has, which files are none, and that nothing is fetched."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from clarion_contract.events.catalogue import Catalogue, InvalidCatalogue, parse_catalogue

OBJECT = {"type": "object"}


def catalogue(**events: Any) -> Catalogue:
    return parse_catalogue({"events.yaml": {"events": events}})


def problems(documents: dict[str, Any]) -> list[str]:
    with pytest.raises(InvalidCatalogue) as caught:
        parse_catalogue(documents)
    return caught.value.problems


class TestFinding:
    def test_a_type_goes_before_patterns_and_precise_patterns_before_others(self) -> None:
        given = parse_catalogue(
            {
                "e.yaml": {
                    "events": {
                        "**": {},
                        "order.**": {},
                        "order.*": {},
                        "*.paid": {},
                        "order.*.paid": {},
                        "order.paid": {},
                    }
                }
            }
        )
        found = {
            type_: declaration.type if (declaration := given.find(type_)) else None
            for type_ in ("order.paid", "order.sent", "cart.paid", "order.1.paid", "order.1.x", "x")
        }
        assert found == {
            "order.paid": "order.paid",
            "order.sent": "order.*",
            "cart.paid": "*.paid",
            "order.1.paid": "order.*.paid",
            "order.1.x": "order.**",
            "x": "**",
        }

    def test_an_unknown_type_has_none(self) -> None:
        assert catalogue(a={}).find("b") is None
        assert catalogue(**{"a.*": {}}).find("b.c") is None

    def test_types_that_callers_make_up_take_no_memory(self) -> None:
        given = catalogue(**{"a.*": {}})
        for number in range(10_000):
            given.find(f"b.{number}")
        assert len(given._known) <= 4_096


class TestForms:
    def test_a_schemas_file_is_named_like_its_type(self) -> None:
        schema = {
            **OBJECT,
            "description": "An order has a new state.",
            "examples": [{}],
            "deprecated": True,
            "x-audiences": ["user", "topic:order.*"],
        }
        (found,) = parse_catalogue({"order.updated.json": schema})
        assert (found.type, found.source) == ("order.updated", "order.updated.json")
        assert (found.description, found.deprecated) == ("An order has a new state.", True)
        assert (found.audiences, found.examples) == (("user", "topic:order.*"), ({},))

    def test_a_schema_may_name_its_type(self) -> None:
        (found,) = parse_catalogue({"orders.json": {**OBJECT, "x-type": "order.*"}})
        assert found.type == "order.*"

    def test_an_event_without_anything(self) -> None:
        (found,) = parse_catalogue({"e.yaml": {"events": {"a": None}}})
        assert found.check_data(b'"anything"') == []

    def test_files_may_refer_to_each_other(self) -> None:
        given = parse_catalogue(
            {
                "price.json": {"$defs": {"cents": {"type": "integer", "minimum": 0}}},
                "events.yaml": {
                    "events": {"sold": {"schema": {"$ref": "price.json#/$defs/cents"}}}
                },
            }
        )
        sold = given.find("sold")
        assert sold is not None
        assert sold.check_data(b"1") == []
        assert [each.expected for each in sold.check_data(b"-1")] == ["minimum 0"]

    def test_examples_are_checked(self) -> None:
        given = catalogue(a={"schema": OBJECT, "example": 1}, b={"schema": OBJECT, "example": {}})
        assert given.wrong_examples() == [
            "events.yaml: a: expected a value of type object at /example, got 1"
        ]


class TestMistakes:
    @pytest.mark.parametrize(
        ("document", "said"),
        [
            ([], "expected"),
            ("text", "expected"),
            ({"events": ["a"]}, "expected a map of events by type"),
            ({"evnts": {"a": {}}}, 'expected {"events": {...}} or a JSON Schema'),
            ({"events": {"not a type": {}}}, "not a type: expected an event's type"),
            ({"events": {"a.**.b": {}}}, "expected an event's type"),
            ({"events": {"a": {"schemas": {}}}}, "schemas"),
            ({"events": {"a": {"schema": 7}}}, "schema"),
            ({"events": {"a": {"audiences": ["nobody"]}}}, "expected audiences out of"),
            ({"events": {"a": {"audiences": ["user:alice"]}}}, "expected user without a name"),
            ({"events": {"a": {"audiences": ["all:x"]}}}, "expected all without a name"),
            ({"events": {"a": {"schema": {"type": "strin"}}}}, "strin"),
            ({"events": {"a": {"schema": {"pattern": "("}}}}, "e.yaml: a"),
            (
                {"events": {"a": {"schema": {"properties": {"a/b~": {"type": "strin"}}}}}},
                "at /properties/a~1b~0/type",
            ),
            ({"events": {"a": {"schema": {"$ref": "#/nowhere"}}}}, "nowhere"),
            ({"events": {"a": {"schema": {"$ref": "other.json"}}}}, "other.json"),
            (
                {
                    "events": {
                        "a": {"schema": {"$schema": "http://json-schema.org/draft-07/schema#"}}
                    }
                },
                "expected $schema https://json-schema.org/draft/2020-12/schema",
            ),
        ],
    )
    def test_each_names_the_file(self, document: Any, said: str) -> None:
        (problem,) = problems({"e.yaml": document})
        assert problem.startswith("e.yaml: ")
        assert said in problem

    def test_a_type_twice(self) -> None:
        (problem,) = problems({"a.json": OBJECT, "e.yaml": {"events": {"a": {}}}})
        assert problem == "e.yaml: a is declared in a.json already"

    def test_all_mistakes_are_told_at_once(self) -> None:
        assert len(problems({"e.yaml": {"events": {"a b": {}, "c d": {}}}, "f.yaml": 1})) == 3

    @pytest.mark.parametrize("reference", ["$ref", "$dynamicRef"])
    @pytest.mark.parametrize("scheme", ["http://127.0.0.1:{port}/x.json", "file:///etc/hostname"])
    def test_nothing_is_fetched(self, reference: str, scheme: str) -> None:
        """A server stands ready, and nobody asks it."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = scheme.format(port=server.getsockname()[1])
            (problem,) = problems({"a.json": {"properties": {"b": {reference: url}}}})
            assert "nothing is fetched" in problem
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
