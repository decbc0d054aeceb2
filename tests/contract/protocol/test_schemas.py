"""The JSON Schemas describe what a gateway says and takes.

The clients of tests/integration and tests/e2e check every message that they get: see tests/messages.py.
"""

from __future__ import annotations

import json
import re
from typing import Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.native import PLAIN
from tests.messages import checked, schema, validators
from tests.test_docs import DOCS

PAGE = (DOCS / "protocol.md").read_text()
EXAMPLES = [
    line
    for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith('{"kind"')
]


@pytest.mark.parametrize("side", ["server", "client"])
def test_they_are_schemas(side: Literal["server", "client"]) -> None:
    Draft202012Validator.check_schema(schema(side))


@pytest.mark.parametrize("example", EXAMPLES)
def test_they_allow_the_examples_of_the_page(example: str) -> None:
    if json.loads(example)["kind"] in validators():
        checked(example)
    else:
        Draft202012Validator(schema("client")).validate(json.loads(example))


def test_the_page_has_an_example_of_every_kind() -> None:
    kinds = {*validators(), *schema("client")["$defs"]} - {"ref"}
    assert {json.loads(example)["kind"] for example in EXAMPLES} == kinds


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "event", "id": "x"},
        {"kind": "gap", "id": 7},
        {"kind": "gap", "id": "7", "more": 1},
        {"kind": "event", "id": "7", "audience": "topic", "type": "t", "data": 1,
         "time": "2026-01-02T03:04:05.678901Z"},
    ],
)  # fmt: skip
def test_they_refuse_other_messages(message: object) -> None:
    with pytest.raises(ValidationError):
        checked(json.dumps(message))
    with pytest.raises(AssertionError, match=r"not in server\.schema\.json"):
        checked('{"kind":"unheard"}')


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "message", "type": "a"},
        {"kind": "message", "type": "a", "data": None, "ref": "r"},
        {"kind": "message", "type": "a", "ref": 1.5},
        {"kind": "auth", "token": None},
        {"kind": "subscribe", "topics": ["a", "not a topic"], "ref": 1},
        {"kind": "unsubscribe", "topics": []},
        {"kind": "subscribe", "topics": "a"},
        {"kind": "unsubscribe"},
        {"kind": "message"},
        {"kind": "message", "type": 7},
        {"kind": "message", "type": "a", "more": 1},
        {"kind": "message", "type": "a", "ref": []},
        {"kind": "message", "type": "a", "ref": "x" * 63},
        {"kind": "auth"},
        {"kind": "auth", "token": 7},
        {"kind": "other"},
        [],
    ],
)
def test_a_gateway_takes_what_the_clients_schema_allows_and_nothing_else(message: object) -> None:
    allowed = Draft202012Validator(schema("client")).is_valid(message)
    try:
        PLAIN.decode(msgspec.json.encode(message))
    except Malformed:
        assert not allowed
    else:
        assert allowed
