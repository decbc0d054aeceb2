"""The protocol's JSON Schemas, for the tests' clients: they check whatever a gateway sends."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from clarion_contract.protocol.schemas import schema


@cache
def validators() -> dict[str, Draft202012Validator]:
    """Of the server's messages, by kind. They refuse fields that the schema does not list.

    Clients must ignore such fields, but a gateway must not send what nobody has described.
    """
    whole = schema("server")
    definitions = {
        name: {**definition, "additionalProperties": False}
        if definition.get("type") == "object"
        else definition
        for name, definition in whole["$defs"].items()
    }
    return {
        each["$ref"].rpartition("/")[2]: Draft202012Validator(
            {"$defs": definitions, "$ref": each["$ref"]}
        )
        for each in whole["oneOf"]
    }


def checked(text: str) -> dict[str, Any]:
    """The fields of a message from a gateway, which the schema must allow."""
    fields: dict[str, Any] = json.loads(text)
    assert fields["kind"] in validators(), f"{fields['kind']} is not in server.schema.json"
    validators()[fields["kind"]].validate(fields)
    return fields
