"""Reading JSON and YAML: the values, and the keys that stand twice."""

from __future__ import annotations

import pytest

from clarion_contract.service.documents import parse_json, parse_yaml


def test_values_come_as_they_stand() -> None:
    assert parse_json('{"a": [1, {"b": null}], "c": {"b": true}}') == {
        "a": [1, {"b": None}],
        "c": {"b": True},
    }
    assert parse_yaml("a: [1, {b: }]\nc: {b: true}") == {"a": [1, {"b": None}], "c": {"b": True}}


def test_a_map_may_replace_what_it_inherits() -> None:
    text = "a: {b: &b {k: 1, l: 1}, c: &c {<<: *b, k: 2}}\nd: {<<: *c, k: 3}"
    assert parse_yaml(text)["d"] == {"k": 3, "l": 1}


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "x:\n- {a: 1, 'a': 2}", "{a: {a: 1, a: 2}}"])
def test_a_key_twice_in_yaml(text: str) -> None:
    with pytest.raises(ValueError, match="the key 'a' stands twice"):
        parse_yaml(text)


def test_a_key_twice_in_json() -> None:
    with pytest.raises(ValueError, match="the key 'a' stands twice"):
        parse_json('[{"b": {"a": 1, "a": 1}}]')
