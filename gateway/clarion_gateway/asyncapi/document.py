"""The AsyncAPI 3 document of a gateway: https://www.asyncapi.com/docs/reference/specification/v3.0.0

It describes the gateway with its application: it receives clients' messages, replies to them, and
sends events. Messages stand in it as they are on the wire, in the protocol ``clarion.v1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from clarion_contract.events.catalogue import Catalogue
from clarion_contract.events.components import Components, component_name, free_name
from clarion_contract.events.declared_schemas import declared_data
from clarion_contract.events.pointers import json_pointer
from clarion_gateway.application.answering import Route
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.asyncapi.annotations import Annotation, schemas_of
from clarion_gateway.asyncapi.channels import (
    CONNECTION,
    EVERY_AUDIENCE,
    audiences_of,
    connection_channel,
    event_channel,
    namespace_channel,
)
from clarion_gateway.asyncapi.dialect import in_draft_7
from clarion_gateway.asyncapi.messages import Messages

_VERSION: Final = "3.0.0"
_ERROR: Final = "Error"
_MAIN: Final = ""
_DESCRIPTION: Final = (
    "Messages that clients send to the application's handlers, with their replies, and the events "
    "that clients receive. All of it travels on one connection: a WebSocket with the subprotocol "
    "`clarion.v1`. Events also travel on an event stream at `/sse`. For a client of Socket.IO, "
    "`type` is the name of what it emits or hears, `data` is the one argument, and the `data` of a "
    "reply is the acknowledgement."
)


def asyncapi_document(
    handlers: Handlers | None = None,
    catalogue: Catalogue | None = None,
    *,
    title: str = "Clarion gateway",
    version: str | None = None,
    url: str | None = None,
) -> dict[str, Any]:
    """The document, as plain JSON values.

    Args:
        handlers: of the application.
        catalogue: of declared events.
        version: of the application's interface; None: that of Clarion.
        url: a gateway's, such as ``http://127.0.0.1:8001``; None: the document names no server.

    Example: ``asyncapi_document(handlers)["channels"]["connection"]["address"] == "/ws"``.
    """
    document = _Document()
    document.take_handlers(handlers or Handlers())
    document.take_catalogue(catalogue or Catalogue())
    about = {
        "title": title,
        "version": version or metadata.version("clarion"),
        "description": _DESCRIPTION,
    }
    return {
        "asyncapi": _VERSION,
        "info": about,
        "defaultContentType": "application/json",
        **({} if url is None else {"servers": {"gateway": _server(url)}}),
        **document.written(),
    }


class _Key(NamedTuple):
    """A type of messages or events. Another namespace may have the same one.

    Attributes:
        namespace: of Socket.IO; empty: the main one, which is that of all other clients too.
    """

    namespace: str
    type: str


@dataclass(frozen=True, slots=True)
class _Event:
    """The message of a type of events, and the audiences that receive it."""

    message: dict[str, Any]
    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    """The message that a handler takes, and its reply."""

    message: dict[str, Any]
    reply: dict[str, Any]


@dataclass
class _Document:
    """Collects events and calls by type, and then writes them."""

    components: Components = field(default_factory=Components)
    events: dict[_Key, _Event] = field(default_factory=dict)
    calls: dict[_Key, _Call] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._messages = Messages(self.components)

    def take_handlers(self, handlers: Handlers) -> None:
        """The handlers' messages, and the replies that they publish."""
        routes = dict(_routes(handlers))
        schemas = schemas_of(
            self.components, [each for route in routes.values() for each in _annotations(route)]
        )
        for index, (key, route) in enumerate(routes.items()):
            takes, returns = schemas[2 * index : 2 * index + 2]
            about = route.signature.about
            self.calls[key] = _Call(
                self._messages.call(key.type, takes, about), self._messages.reply(key.type, returns)
            )
            audiences = [name for each in route.interceptors for name in audiences_of(each)]
            if audiences:
                message = self._messages.event(key.type, returns, about)
                main = _Key(_MAIN, key.type)
                self.events[key if main in self.events else main] = _Event(
                    message, tuple(dict.fromkeys(audiences))
                )

    def take_catalogue(self, catalogue: Catalogue) -> None:
        """Declared events; what is declared counts, also for events that handlers publish."""
        for declaration in catalogue:
            data = declared_data(self.components, catalogue, declaration)
            message = self._messages.declared(declaration, data)
            for key in [each for each in self.events if each.type == declaration.type]:
                del self.events[key]
            self.events[_Key(_MAIN, declaration.type)] = _Event(
                message, declaration.audiences or EVERY_AUDIENCE
            )

    def written(self) -> dict[str, Any]:
        """The channels, the operations, and the components."""
        names = _key_names({*self.events, *self.calls})
        messages = self._named_messages(names)
        channels, operations = self._receiving(names)
        for audience, name in _names(self._audiences()).items():
            key = name[0].lower() + name[1:]
            sent = [
                f"{names[each]}Event"
                for each, event in sorted(self.events.items())
                if audience in event.audiences
            ]
            channels[key] = {**event_channel(audience), "messages": _in_components(sent)}
            operations[f"send{name}"] = {
                "action": "send",
                "channel": _reference("channels", key),
                "messages": _in_channel(key, sent),
            }
        schemas = sorted(self.components.schemas.items())
        return {
            "channels": channels,
            "operations": operations,
            "components": {
                "messages": messages,
                "schemas": {name: in_draft_7(each) for name, each in schemas},
            },
        }

    def _named_messages(self, names: Mapping[_Key, str]) -> dict[str, Any]:
        messages = {}
        for key, event in sorted(self.events.items()):
            messages[f"{names[key]}Event"] = event.message
        for key, call in self.calls.items():
            messages[f"{names[key]}Message"] = call.message
            messages[f"{names[key]}Reply"] = call.reply
        if self.calls:
            messages[_ERROR] = self._messages.error()
        return messages

    def _receiving(self, names: Mapping[_Key, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The channel of each namespace's messages, and an operation for each handler."""
        channels: dict[str, Any] = {}
        operations: dict[str, Any] = {}
        for namespace, name in _names(
            {each.namespace: None for each in sorted(self.calls)}
        ).items():
            channel = f"{CONNECTION}{name}" if namespace else CONNECTION
            calls = {
                names[key]: self.calls[key] for key in self.calls if key.namespace == namespace
            }
            named = [f"{each}{kind}" for each in calls for kind in ("Message", "Reply")]
            channels[channel] = {
                **(namespace_channel(namespace) if namespace else connection_channel()),
                "messages": _in_components([*named, _ERROR]),
            }
            for each, call in calls.items():
                operations[f"receive{each}"] = _operation(channel, each, call)
        return channels, operations

    def _audiences(self) -> list[str]:
        """All audiences of events: kinds in their own order, then topics."""
        found = {name for event in self.events.values() for name in event.audiences}
        kinds = [kind for kind in EVERY_AUDIENCE if kind in found]
        return [*kinds, *sorted(found.difference(kinds))]


def _operation(channel: str, name: str, call: _Call) -> dict[str, Any]:
    """The Operation Object of a handler."""
    return {
        "action": "receive",
        "channel": _reference("channels", channel),
        **{key: call.message[key] for key in ("summary",) if key in call.message},
        "messages": _in_channel(channel, [f"{name}Message"]),
        "reply": {
            "channel": _reference("channels", channel),
            "messages": _in_channel(channel, [f"{name}Reply", _ERROR]),
        },
    }


def _routes(handlers: Handlers) -> Iterator[tuple[_Key, Route]]:
    """All handlers, those of namespaces last."""
    for namespace, each in sorted({_MAIN: handlers, **handlers.namespaces}.items()):
        for type_ in sorted(each.types):
            route = each.find(type_)
            if route is not None:
                yield _Key(namespace, type_), route


def _annotations(route: Route) -> tuple[Annotation, Annotation]:
    takes, returns, _ = route.signature
    takes = Any if takes is bytes else takes  # the JSON as it came
    return Annotation(takes, "validation"), Annotation(returns, "serialization")


def _key_names(keys: Iterable[_Key]) -> dict[_Key, str]:
    """A name for each; those of the main namespace are the shortest."""
    ordered = sorted(keys)
    texts = {key: f"{key.namespace} {key.type}".strip() for key in ordered}
    names = _names(texts.values())
    return {key: names[text] for key, text in texts.items()}


def _names(texts: Iterable[str]) -> dict[str, str]:
    """A name for each text that no other has, although ``a.b`` and ``a-b`` make the same."""
    names: dict[str, str] = {}
    for text in texts:
        names[text] = free_name(component_name(text), names.values())
    return names


def _in_components(names: Iterable[str]) -> dict[str, Any]:
    return {name: _reference("components", "messages", name) for name in names}


def _in_channel(channel: str, names: Iterable[str]) -> list[dict[str, str]]:
    return [_reference("channels", channel, "messages", name) for name in names]


def _reference(*path: str) -> dict[str, str]:
    return {"$ref": f"#{json_pointer(*path)}"}


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    secure = parts.scheme in {"https", "wss"}
    path = parts.path.rstrip("/")
    return {
        "host": parts.netloc,
        "protocol": "wss" if secure else "ws",
        **({"pathname": path} if path else {}),
    }
