"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

``event:`` is the event's type, ``id:`` its id, ``data:`` the producer's JSON. A browser's
EventSource resumes by itself. Messages of the gateway have a name that begins with ``$``; the type
of an event cannot begin so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec

from clarion_contract.events.event import Event
from clarion_gateway.wire.format import MAIN, PresenceTold, TopicsHeard, Welcome, past_fields
from clarion_gateway.wire.messages import NO_REF, Malformed
from clarion_gateway.wire.parts import Parts

_json = msgspec.json.Encoder()


class SseFormat:
    """The format of event streams. Clients send nothing by them, so there are no replies.

    What a client sends by POST about its topics is answered here, with its ``ref``.
    """

    name = "sse"
    namespace = MAIN
    carries_parts = False
    with_topics = None
    # No id, so that it moves no position. Some clients watch for the comment.
    visible_ping = ping = b":\n\nevent: $ping\ndata: {}\n\n"

    def decode(self, message: bytes) -> NoReturn:  # noqa: ARG002
        """Refuse: a client cannot send messages on an event stream."""
        raise Malformed("expected no messages on the stream itself: send them by POST")

    def event(self, event: Event) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`.

        A line break in the JSON begins another ``data:`` line. It may, being white space in JSON.

        An event of a topic says it in a field ``topic:``. An EventSource ignores fields that it
        does not know (section 9.2.6 of the standard).
        """
        audience = event.audience
        topic = f"{audience.kind}: {audience.name}\n" if audience.shown else ""
        head = f"id: {event.id}\nevent: {event.type}\n{topic}data: "
        return b"%b%b\n\n" % (head.encode(), _one_line_each(event.data))

    def welcome(self, welcome: Welcome) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`.

        Its ``id:`` lets a client resume before it has had any event. The ``id:`` for a client that
        resumes is the one that the client came with: it counts until missed events have arrived.
        """
        fields = {
            "connection": welcome.connection,
            "user": welcome.user,
            "pod": welcome.pod,
            "resumed": welcome.resumed,
            "expires_in": welcome.expires_in,
            "ping_interval": welcome.ping_interval,
            **({"messages": "post"} if welcome.takes_posts else {}),
            **(welcome.heard.fields if welcome.heard else {}),
        }
        return b"id: %d\n%b" % (welcome.position, _named("$welcome", fields))

    def reply(self, ref: bytes, data: bytes, parts: Parts | None = None) -> bytes:  # noqa: ARG002
        """Never called: a client cannot ask anything on an event stream."""
        raise AssertionError("SSE carries no replies")

    def message(self, type_: str, data: bytes, parts: Parts | None = None) -> bytes:  # noqa: ARG002
        """See `clarion_gateway.wire.format.WireFormat`. Without an id, so it moves no position."""
        return b"event: %b\ndata: %b\n\n" % (type_.encode(), _one_line_each(data))

    def ask(self, ref: bytes, type_: str, data: bytes, parts: Parts | None = None) -> bytes:  # noqa: ARG002
        """Return nothing: a client cannot answer on an event stream."""
        return b""

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`.

        With a ``ref``, null included, it answers a message; without, the stream ends.
        """
        answers = {} if ref is None else {"ref": msgspec.Raw(ref)}
        return _named("$error", {**answers, "code": code, "message": message})

    def gap(self, position: int) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return b"id: %d\n%b" % (position, _named("$gap", {}))

    def identity(
        self,
        ref: bytes | None,  # noqa: ARG002
        user: str | None,  # noqa: ARG002
        expires_in: int | None,  # noqa: ARG002
        heard: TopicsHeard | None = None,  # noqa: ARG002
    ) -> bytes:
        """Never called: a client cannot log in on an event stream."""
        raise AssertionError("SSE carries no log-in")

    def subscribed(
        self,
        ref: bytes,
        position: int,
        heard: TopicsHeard,
        past: Sequence[Event] | None = None,
    ) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        fields = {**_ref(ref), **heard.fields, **past_fields(past)}
        return b"id: %d\n%b" % (position, _named("$subscribed", fields))

    def unsubscribed(
        self,
        ref: bytes,
        topics: Sequence[str],
        kept: Sequence[str],
    ) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        fields = {**_ref(ref), "topics": topics, **({"kept": kept} if kept else {})}
        return _named("$unsubscribed", fields)

    def presence(self, told: PresenceTold) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return _named("$presence", told.fields)

    def reconnect(self, after_ms: int, reason: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. EventSource itself obeys ``retry:``."""
        return b"retry: %d\n%b" % (
            after_ms,
            _named("$reconnect", {"after_ms": after_ms, "reason": reason}),
        )

    def closing(self, label: str, reason: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. An event stream has no close frame."""
        return self.error(None, label, reason)


SSE: Final = SseFormat()


def _ref(ref: bytes) -> dict[str, msgspec.Raw]:
    """The field of an answer; nothing if nobody asked."""
    return {} if ref == NO_REF else {"ref": msgspec.Raw(ref)}


def _one_line_each(data: bytes) -> bytes:
    """JSON behind ``data:``; each of its lines has a ``data:`` of its own."""
    if b"\n" in data or b"\r" in data:
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return data


def _named(name: str, fields: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _json.encode(fields))
