"""The channels of a gateway: clients' connections, and one channel for each audience of events.

An audience is a kind, a topic (``topic:order.42``), or a pattern of topics (``topic:order.*``), as
catalogues write it.
"""

from __future__ import annotations

from typing import Any, Final

from clarion_contract.events.audience import KINDS, Audience, namings
from clarion_gateway.application.answering import Interceptor
from clarion_gateway.application.interceptors import Propagation

CONNECTION: Final = "connection"
EVERY_AUDIENCE: Final = tuple(KINDS)
_TOPIC: Final = "topic"
_QUERY: Final = {
    "token": "The client's token, if no header carries it.",
    "since": "The id of the last event that the client had: what was published since follows.",
    "topic": "A topic to receive. May be repeated.",
}


def connection_channel() -> dict[str, Any]:
    """The Channel Object of clients' messages and their replies, without its messages."""
    query = {
        name: {"type": "string", "description": description} for name, description in _QUERY.items()
    }
    return {
        "address": "/ws",
        "title": "A client's connection",
        "bindings": {
            "ws": {"method": "GET", "query": {"type": "object", "properties": query}},
        },
    }


def namespace_channel(namespace: str) -> dict[str, Any]:
    """The Channel Object of messages to a namespace of Socket.IO, without its messages.

    Example: ``namespace_channel("/admin")["address"] == "/admin"``, as in ``io("/admin")``.
    """
    return {
        "address": namespace,
        "title": f"A Socket.IO client's connection to the namespace {namespace}",
    }


def event_channel(audience: str) -> dict[str, Any]:
    """The Channel Object of an audience's events, without its messages.

    Example: ``event_channel("topic:order.*")["address"] == "topic:order.{segment2}"``.
    """
    kind, _, pattern = audience.partition(":")
    row = namings().get(kind)
    if row is None:
        title = "every connection" if kind == "all" else f"every {kind} connection"
        return {"address": kind, "title": f"Events to {title}"}
    names = _segments(pattern) if pattern else [f"{{{kind}}}"]
    described = {name[1:-1]: _parameter(name, row.description) for name in names if "{" in name}
    title = f"the topic {pattern}" if pattern and not described else row.audience
    return {
        "address": f"{kind}:{'.'.join(names)}",
        "title": f"Events to {title}",
        **({"parameters": described} if described else {}),
    }


def audiences_of(interceptor: Interceptor) -> tuple[str, ...]:
    """The audiences to which an interceptor publishes replies, as catalogues write them."""
    if not isinstance(interceptor, Propagation):
        return ()
    to = interceptor.to
    if isinstance(to, str):
        return (to,)
    if isinstance(to, Audience):
        return (f"{_TOPIC}:{to.name}" if to.kind == _TOPIC else to.kind,)
    return EVERY_AUDIENCE


def _segments(pattern: str) -> list[str]:
    """The segments of a pattern, with a parameter in the place of each that is not fixed."""
    names = {"*": "{{segment{}}}", "**": "{{rest}}"}
    return [
        names[segment].format(place) if segment in names else segment
        for place, segment in enumerate(pattern.split("."), 1)
    ]


def _parameter(name: str, whole: str) -> dict[str, str]:
    if name == "{rest}":
        return {"description": "One or more segments of the topic's name, joined by dots."}
    part = "One segment of the topic's name."
    return {"description": part if name.startswith("{segment") else whole}
