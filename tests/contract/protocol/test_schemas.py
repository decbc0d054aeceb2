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

from clarion_contract.protocol.schemas import schema
from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.native import PLAIN
from tests.messages import checked
from tests.test_docs import DOCS

PAGE = (DOCS / "protocol.md").read_text()
FROM_CLIENT = "#### From the client"


def examples(text: str) -> list[str]:
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith('{"kind"')]


def kinds(side: Literal["server", "client"]) -> set[str]:
    return {each["$ref"].rpartition("/")[2] for each in schema(side)["oneOf"]}


def side_of(example: str, *, from_client: bool) -> str:
    """A `message` comes from both sides, in the part of the page about each."""
    kind = json.loads(example)["kind"]
    if kind in kinds("server") & kinds("client"):
        return "client" if from_client else "server"
    return "server" if kind in kinds("server") else "client"


EXAMPLES = [
    (side_of(line, from_client=bool(part)), line)
    for part, text in enumerate(PAGE.split(FROM_CLIENT))
    for line in examples(text)
]


@pytest.mark.parametrize("side", ["server", "client"])
def test_they_are_schemas(side: Literal["server", "client"]) -> None:
    Draft202012Validator.check_schema(schema(side))


@pytest.mark.parametrize(("side", "example"), EXAMPLES)
def test_they_allow_the_examples_of_the_page(side: str, example: str) -> None:
    if side == "server":
        checked(example)
    else:
        Draft202012Validator(schema("client")).validate(json.loads(example))


@pytest.mark.parametrize("side", ["server", "client"])
def test_the_page_has_an_example_of_every_kind(side: Literal["server", "client"]) -> None:
    shown = {json.loads(example)["kind"] for of, example in EXAMPLES if of == side}
    assert shown == kinds(side)


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
        {"kind": "subscribe", "topics": ["a"], "last": 3},
        {"kind": "subscribe", "topics": ["a"], "since": "17"},
        {"kind": "subscribe", "topics": ["a"], "since": 17},
        {"kind": "subscribe", "topics": ["a"], "last": "3"},
        {"kind": "unsubscribe", "topics": [], "last": 3},
        {"kind": "unsubscribe", "topics": []},
        {"kind": "answer", "ref": 7},
        {"kind": "answer", "ref": 7, "data": [1]},
        {"kind": "answer", "ref": 7, "error": {"code": "c", "message": "m"}},
        {"kind": "answer"},
        {"kind": "answer", "ref": 7, "error": {}},
        {"kind": "answer", "ref": 7, "error": {"code": "c", "more": 1}},
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
