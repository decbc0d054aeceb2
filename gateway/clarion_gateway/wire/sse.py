"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

``event:`` is the event's type, ``id:`` its id, ``data:`` the producer's JSON; a browser's
EventSource resumes by itself. What is not an event has a name that begins with ``$``, which no
event type can.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import msgspec

from clarion_contract.events.event import Event
from clarion_gateway.wire.format import Welcome
from clarion_gateway.wire.messages import Malformed

COMMENT: Final = b":\n\n"

_json = msgspec.json.Encoder()


class SseFormat:
    """An event stream. A client cannot speak back, so replies do not exist."""

    name = "sse"
    ping = COMMENT

    def decode(self, message: bytes) -> NoReturn:  # noqa: ARG002
        """Nobody speaks over SSE."""
        raise Malformed("expected no messages: an event stream leads one way")

    def event(self, event: Event) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. Line breaks in JSON are white space and may
        move.
        """
        data = event.data
        if b"\n" in data or b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.type.encode(), data)

    def welcome(self, welcome: Welcome) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. Its ``id:`` lets a client resume before any
        event.

        A client that resumes keeps the id that it has until the events it missed have arrived.
        """
        fields = {
            "connection": welcome.connection,
            "user": welcome.user,
            "pod": welcome.pod,
            "resumed": welcome.resumed,
            "expires_in": welcome.expires_in,
        }
        return b"id: %d\n%b" % (welcome.position, _named("$welcome", fields))

    def reply(self, ref: bytes, data: bytes) -> bytes:  # noqa: ARG002
        """Nobody asks over SSE."""
        raise AssertionError("SSE carries no replies")

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:  # noqa: ARG002
        """See `clarion_gateway.wire.format.WireFormat`."""
        return _named("$error", {"code": code, "message": message})

    def gap(self, position: int) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return b"id: %d\n%b" % (position, _named("$gap", {}))

    def identity(self, ref: bytes | None, user: str | None, expires_in: int | None) -> bytes:  # noqa: ARG002
        """Nobody logs in over SSE."""
        raise AssertionError("SSE carries no log-in")

    def reconnect(self, after_ms: int, reason: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. EventSource itself obeys ``retry:``."""
        return b"retry: %d\n%b" % (
            after_ms,
            _named("$reconnect", {"after_ms": after_ms, "reason": reason}),
        )

    def closing(self, label: str, reason: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. Nothing but the stream can say it."""
        return self.error(None, label, reason)


SSE: Final = SseFormat()


def _named(name: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _json.encode(fields))
