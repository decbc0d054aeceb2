"""The TypeScript file of an AsyncAPI document that Clarion made.

`createClient<Events, Messages>` of `@clarion/client` takes its types `Events` and `Messages`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from clarion_cli.typescript.schemas import (
    ANY,
    comment,
    comment_of,
    has_members,
    members_of,
    type_of,
    union,
)
from clarion_contract.events.components import component_name, free_name
from clarion_contract.events.pointers import path_of

_HEAD: Final = """\
// Written by `clarion types`. Do not edit.

"""
_MAIN: Final = "#/channels/connection"
_TAKEN: Final = frozenset({"Events", "Messages", "Record"})


class NotOfClarion(ValueError):
    """An AsyncAPI document whose messages do not have Clarion's form."""


def types_file(document: Mapping[str, Any]) -> str:
    """The text of a TypeScript file.

    Raises:
        NotOfClarion: the document was made by something else.
    """
    return _File(document).text()


class _Entry(NamedTuple):
    """A type of events."""

    name: str
    data: str
    message: Mapping[str, Any]


class _File:
    """Writes the types that events and messages refer to, and no others."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._namespaces: dict[str, str] = {}  # the type of each one's messages, by its channel

    def text(self) -> str:
        try:
            self._name_namespaces()
            events, messages = self._events(), [*self._messages()]
        except (KeyError, IndexError, TypeError, AttributeError):
            raise NotOfClarion("expected an AsyncAPI document made by Clarion") from None
        parts = [events, *messages, *self._declarations()]
        return _HEAD + "\n".join("\n".join(lines) + "\n" for lines in parts)

    def _events(self) -> list[str]:
        found: dict[str, _Entry] = {}
        for operation in self._operations("send"):
            for reference in operation["messages"]:
                message = self._at(reference)
                name, data = message["name"], type_of(_data(message), self._name, "  ")
                if name in found:  # of another namespace, or to another audience
                    data = union([found[name].data, data])
                found[name] = _Entry(name, data, message)
        lines = [*comment("The data of events, by type."), "export type Events = {"]
        exact = [each for each in found.values() if "*" not in each.name]
        for entry in sorted(exact):
            lines += _comment_of_message(entry.message)
            lines.append(f"  {json.dumps(entry.name)}: {entry.data};")
        return [*lines, *_patterns(found), "};"]

    def _messages(self) -> Iterator[list[str]]:
        """The messages to the main namespace, and those to each other one of Socket.IO."""
        about = "The data of messages for handlers, and of their replies, by type."
        yield self._messages_type("Messages", about, self._receiving(_MAIN))
        for channel, name in self._namespaces.items():
            about = f"The same for the namespace {self._address(channel)} of Socket.IO."
            yield self._messages_type(name, about, self._receiving(channel))

    def _name_namespaces(self) -> None:
        """Give each namespace a type, before classes of the application take its name."""
        for operation in self._operations("receive"):
            channel = operation["channel"]["$ref"]
            if channel != _MAIN and channel not in self._namespaces:
                wished = f"{component_name(self._address(channel))}Messages"
                taken = _TAKEN.union(self._namespaces.values())
                self._namespaces[channel] = free_name(wished, taken)

    def _receiving(self, channel: str) -> Iterator[Mapping[str, Any]]:
        operations = self._operations("receive")
        return (each for each in operations if each["channel"]["$ref"] == channel)

    def _address(self, channel: str) -> str:
        return str(self._at({"$ref": channel})["address"])

    def _messages_type(
        self, name: str, about: str, operations: Iterable[Mapping[str, Any]]
    ) -> list[str]:
        lines = [*comment(about), f"export type {name} = {{"]
        for operation in operations:
            message = self._at(operation["messages"][0])
            reply = self._at(operation["reply"]["messages"][0])
            lines += _comment_of_message(message)
            lines += [
                f"  {json.dumps(message['name'])}: {{",
                f"    data: {type_of(_data(message), self._name, '    ')};",
                f"    reply: {type_of(_data(reply), self._name, '    ')};",
                "  };",
            ]
        return [*lines, "};"]

    def _declarations(self) -> Iterator[list[str]]:
        """The types that are named so far, and those that they name."""
        written: set[str] = set()
        while pending := [each for each in self._names if each not in written]:
            for reference in pending:
                written.add(reference)
                yield self._declaration(reference)

    def _declaration(self, reference: str) -> list[str]:
        schema = self._at({"$ref": reference})
        name = self._names[reference]
        if has_members(schema):
            inner = members_of(schema, self._name, "  ")
            return [*comment_of(schema), f"export interface {name} {{", *inner, "}"]
        return [*comment_of(schema), f"export type {name} = {type_of(schema, self._name)};"]

    def _operations(self, action: str) -> Iterator[Mapping[str, Any]]:
        for _, operation in sorted(self._document["operations"].items()):
            if operation["action"] == action:
                yield operation

    def _at(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """The value at the end of a chain of references within the document."""
        while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
            found: Any = self._document
            for step in path_of(value["$ref"]):
                found = found[step]
            value = found
        return value

    def _name(self, reference: str) -> str:
        if reference not in self._names:
            wished = component_name(path_of(reference)[-1])
            self._names[reference] = free_name(
                wished, _TAKEN.union(self._names.values(), self._namespaces.values())
            )
        return self._names[reference]


def _data(message: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """The schema of a message's data, which stands in its own part of the payload."""
    return message["payload"]["allOf"][1]["properties"]["data"]


def _comment_of_message(message: Mapping[str, Any]) -> list[str]:
    text = str(message.get("description", message.get("summary", "")))
    return comment(text, "  ", message.get("deprecated") is True)


def _patterns(found: Mapping[str, _Entry]) -> Iterator[str]:
    """Index signatures for patterns of types, more precise ones included in less precise ones.

    TypeScript wants that the type of ``order.updated`` fits the one of ``order.${string}``.
    """
    templates: dict[str, list[str]] = {}
    for entry in found.values():
        if "*" in entry.name:
            template = re.sub(r"\*+", "${string}", entry.name)
            regex = re.compile(re.escape(template).replace(re.escape("${string}"), ".+"))
            covered = [each.data for each in found.values() if regex.fullmatch(each.name)]
            templates.setdefault(template, []).extend(covered)
    for template, types in sorted(templates.items()):
        yield f"  [type: `{template}`]: {union(types) if types else ANY};"
