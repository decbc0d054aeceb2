"""The Message Objects of a document: messages as on the wire, with the application's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clarion_contract.events.components import Components, Definitions
from clarion_contract.events.declaration import Declaration
from clarion_contract.protocol.schemas import Side, schema

_EXAMPLE: Final = {"id": "1732440000000000", "time": "2024-11-24T09:20:00.000000Z"}
# An answer has the `ref` of the message that it answers.
_CORRELATED: Final = {"correlationId": {"location": "$message.payload#/ref"}}


class Messages:
    """Makes the Message Objects.

    Args:
        components: take in the schemas of the protocol.
    """

    def __init__(self, components: Components) -> None:
        self._components = components
        self._definitions = {
            side: Definitions(side, schema(side)["$defs"]) for side in ("server", "client")
        }

    def event(self, type_: str, data: Mapping[str, Any], about: str = "") -> dict[str, Any]:
        """An event. For a pattern of types: the events that no more precise one describes."""
        fields = {"type": _type(type_), "data": data}
        return self._message("server", "event", type_, fields) | _summary(about)

    def declared(self, declaration: Declaration, data: Mapping[str, Any]) -> dict[str, Any]:
        """A declared event."""
        message = self.event(declaration.type, data, declaration.description)
        if declaration.deprecated:
            message["deprecated"] = True
        if declaration.examples and "*" not in declaration.type:
            message["examples"] = [_example(declaration, each) for each in declaration.examples]
        return message

    def call(self, type_: str, data: Mapping[str, Any], about: str = "") -> dict[str, Any]:
        """A client's message for a handler."""
        fields = {"type": {"const": type_}, "data": data}
        return self._message("client", "message", type_, fields) | _summary(about) | _CORRELATED

    def reply(self, type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """The reply of a handler."""
        return self._message("server", "reply", type_, {"data": data}) | _CORRELATED

    def error(self) -> dict[str, Any]:
        """The refusal of a message."""
        payload = self._base("server", "error")
        return {"name": "error", "title": "error", "payload": payload, **_CORRELATED}

    def _message(
        self, side: Side, kind: str, type_: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        payload = {
            "allOf": [
                self._base(side, kind),
                {"type": "object", "required": list(fields), "properties": dict(fields)},
            ]
        }
        return {"name": type_, "title": f"{type_} ({kind})", "payload": payload}

    def _base(self, side: Side, kind: str) -> dict[str, Any]:
        """A reference to the schema of all messages of a kind."""
        return self._components.add({"$ref": kind}, self._definitions[side])


def _type(type_: str) -> dict[str, Any]:
    if "*" not in type_:
        return {"const": type_}
    regexes = {"*": "[^.]+", "**": ".+"}
    segments = [regexes.get(each, each.replace("+", r"\+")) for each in type_.split(".")]
    pattern = "\\.".join(segments)
    return {"type": "string", "pattern": f"^{pattern}$"}


def _summary(about: str) -> dict[str, str]:
    """The first sentence or line of a text as summary, and all of it as description."""
    summary = about.partition("\n\n")[0].replace("\n", " ").strip()
    if not summary:
        return {}
    return {"summary": summary, **({"description": about} if about.strip() != summary else {})}


def _example(declaration: Declaration, data: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    audience = (declaration.audiences or ("all",))[0].partition(":")[0]
    topic = {"topic": "order.42"} if audience == "topic" else {}
    fields = {"kind": "event", "audience": audience, **topic, "type": declaration.type}
    return {"payload": {**fields, **_EXAMPLE, "data": data}}
