"""What a declaration says of events: where they differ, and what was expected there."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, topic_audience, user_audience
from clarion_contract.events.catalogue import parse_catalogue
from clarion_contract.events.declaration import Declaration, check_allowed


def declared(schema: Any = None, **fields: Any) -> Declaration:
    document = {"events": {"a": {"schema": schema, **fields}}}
    (found,) = parse_catalogue({"e.yaml": document})
    return found


class TestData:
    @pytest.mark.parametrize(
        ("schema", "data", "pointer", "expected", "got"),
        [
            ({"type": "integer"}, b'"x"', "/data", "a value of type integer", '"x"'),
            (
                {"type": ["integer", "null"]},
                b"[]",
                "/data",
                "a value of type null or integer",
                "an array",
            ),
            ({"required": ["id"]}, b"{}", "/data/id", "a value", "nothing"),
            (
                {"properties": {"a": True}, "additionalProperties": False},
                b'{"b/c~":1}',
                "/data/b~1c~0",
                "no field of that name",
                "a field that the schema does not have",
            ),
            (
                {"properties": {"a": {"items": {"minimum": 0}}}},
                b'{"a":[1,-1]}',
                "/data/a/1",
                "minimum 0",
                "-1",
            ),
            ({"enum": ["a", "b"]}, b'"c"', "/data", 'enum ["a","b"]', '"c"'),
            ({"const": {"a": 1}}, b"1", "/data", 'const {"a":1}', "1"),
            (
                {"maxLength": 3},
                b'"%b"' % (b"x" * 99),
                "/data",
                "maxLength 3",
                "a string of 99 characters",
            ),
            ({"format": "date-time"}, b'"today"', "/data", 'format "date-time"', '"today"'),
            (
                {"anyOf": [{"type": "null"}, {"type": "string"}]},
                b"1",
                "/data",
                "a value that fits one of the alternatives (anyOf)",
                "1",
            ),
            (False, b"1", "/data", "no value here", "1"),
        ],
    )
    def test_where_and_what(
        self, schema: Any, data: bytes, pointer: str, expected: str, got: str
    ) -> None:
        assert declared(schema).check_data(data) == [(pointer, expected, got)]

    def test_several(self) -> None:
        found = declared({"required": ["a", "b"]}).check_data(b"{}")
        assert [each.pointer for each in found] == ["/data/a", "/data/b"]

    def test_their_number_is_bounded(self) -> None:
        found = declared({"items": {"type": "null"}}).check_data(b"[" + b"1," * 999 + b"1]")
        assert len(found) == 10

    def test_good_data(self) -> None:
        assert declared({"type": "object"}).check_data(b"{}") == []
        assert declared().check_data(b"1") == []
        assert declared(True).check_data(b"1") == []

    @pytest.mark.parametrize(
        "data",
        [b"1e999", b"-1e999", b"123456789012345678901234567890", b"0.10000000000000000000000001"],
    )
    def test_numbers_beyond_64_bits_break_nothing(self, data: bytes) -> None:
        declared({"type": "number"}).check_data(data)
        assert declared({"type": "string"}).check_data(data) != []

    def test_deep_data_break_nothing(self) -> None:
        data = b"[" * 500 + b"]" * 500
        schema = {"$defs": {"l": {"items": {"$ref": "#/$defs/l"}}}, "$ref": "#/$defs/l"}
        declared(schema).check_data(data)


class TestAudiences:
    def test_any_where_none_is_named(self) -> None:
        for audience in (ALL, AUTHENTICATED, user_audience("a"), topic_audience("t")):
            assert declared().check(audience, b"1") == []

    def test_only_those(self) -> None:
        given = declared(audiences=["user", "topic:order.*"])
        assert given.check(user_audience("a"), b"1") == []
        assert given.check(topic_audience("order.42"), b"1") == []
        expected = "an audience out of: user, topic:order.*"
        assert given.check(ALL, b"1") == [("/audience", expected, "all")]
        assert given.check(topic_audience("cart.1"), b"1") == [
            ("/audience", expected, "topic:cart.1")
        ]

    def test_audience_and_data_are_both_told(self) -> None:
        given = declared({"type": "null"}, audiences=["user"])
        assert [each.pointer for each in given.check(ALL, b"1")] == ["/audience", "/data"]

    @pytest.mark.parametrize("text", ["all", "user", "topic", "topic:a.*"])
    def test_good_entries(self, text: str) -> None:
        assert check_allowed(text) == text
