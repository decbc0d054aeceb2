"""Reading JSON and YAML: the values, and the keys that stand twice."""

from __future__ import annotations

import pytest
import yaml

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


def test_a_date_without_quotes_is_a_text() -> None:
    assert parse_yaml("a: 2024-01-01\nb: 2024-01-01 10:00:00") == {
        "a": "2024-01-01",
        "b": "2024-01-01 10:00:00",
    }


@pytest.mark.parametrize("text", ['!!int ""', "!!bool x", "!!timestamp x", "!!float a", "!!set 1"])
def test_a_value_that_does_not_fit_its_tag(text: str) -> None:
    with pytest.raises((ValueError, yaml.YAMLError)):
        parse_yaml(text)


def bomb(levels: int) -> str:
    """A few lines in which each value stands for ten of the one before."""
    lines = ["a0: &a0 x"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines)


def test_aliases_may_not_make_a_text_of_billions() -> None:
    assert len(parse_yaml(bomb(4))["a3"]) == 10
    with pytest.raises(ValueError, match="expected at most 2000000 values, aliases included"):
        parse_yaml(bomb(30))


@pytest.mark.parametrize("text", ["&a [*a]", "a: &a {b: [*a]}", "&a {<<: *a}"])
def test_no_value_contains_itself(text: str) -> None:
    with pytest.raises(ValueError, match="expected no value that contains itself"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "x:\n- {a: 1, 'a': 2}", "{a: {a: 1, a: 2}}"])
def test_a_key_twice_in_yaml(text: str) -> None:
    with pytest.raises(ValueError, match="the key 'a' stands twice"):
        parse_yaml(text)


def test_a_key_twice_in_json() -> None:
    with pytest.raises(ValueError, match="the key 'a' stands twice"):
        parse_json('[{"b": {"a": 1, "a": 1}}]')
