"""Clarion's own protocol, ``clarion.v1``: one JSON object per text message (docs/protocol.md).

A frame of an event is put together around the producer's bytes, without encoding them again. The
other fields are put in without escaping, since none of them can hold a character that needs it:
ids, times, audience kinds, topics, and types (`clarion_contract.events.event.TYPE_PATTERN`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from clarion_contract.events import surrogates
from clarion_contract.events.event import Event
from clarion_contract.events.nesting import check_nesting
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import (
    MAIN,
    Framed,
    PresenceTold,
    TopicsHeard,
    Welcome,
    event_object,
    past_fields,
)
from clarion_gateway.wire.messages import (
    Answer,
    Authenticate,
    ClientMessage,
    Malformed,
    Message,
    Subscribe,
    Unsubscribe,
)
from clarion_gateway.wire.parts import Parts

SUBPROTOCOL: Final = "clarion.v1"
REF_MAX_BYTES: Final = 64
# The first byte of objects, arrays, true and false, which a ref cannot be.
_NO_REF: Final = frozenset({b"{", b"[", b"t", b"f"})

_VISIBLE_PING: Final = b'{"kind":"ping"}'

_json = msgspec.json.Encoder()


class _Message(msgspec.Struct, tag="message", tag_field="kind", forbid_unknown_fields=True):
    """`Message` on the wire."""

    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    ref: msgspec.Raw = msgspec.Raw(b"null")


class _Auth(msgspec.Struct, tag="auth", tag_field="kind", forbid_unknown_fields=True):
    """`Authenticate` on the wire."""

    token: str | None
    ref: msgspec.Raw = msgspec.Raw(b"null")


class _Subscribe(msgspec.Struct, tag="subscribe", tag_field="kind", forbid_unknown_fields=True):
    """`Subscribe` on the wire."""

    topics: tuple[str, ...]
    ref: msgspec.Raw = msgspec.Raw(b"null")
    last: int | None = None
    since: str | None = None


class _Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="kind", forbid_unknown_fields=True):
    """`Unsubscribe` on the wire."""

    topics: tuple[str, ...]
    ref: msgspec.Raw = msgspec.Raw(b"null")


class _Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """Why a client cannot answer."""

    code: str
    message: str = ""


class _Answer(msgspec.Struct, tag="answer", tag_field="kind", forbid_unknown_fields=True):
    """`Answer` on the wire."""

    ref: msgspec.Raw
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: _Refusal | None = None


_Said = _Message | _Auth | _Subscribe | _Unsubscribe | _Answer

_decoder: msgspec.json.Decoder[_Said] = msgspec.json.Decoder(_Said)


class NativeFormat:
    """The format in one framing. There is one object for plain and one for compressed frames."""

    namespace = MAIN
    carries_parts = False
    with_topics = None

    def __init__(self, name: str, frame: Callable[[bytes], bytes]) -> None:
        self.name = name
        self.visible_ping = frame(_VISIBLE_PING)
        self.ping = frames.PING + self.visible_ping
        self._frame = frame

    def decode(self, message: bytes) -> ClientMessage | Answer:
        """See `clarion_gateway.wire.format.WireFormat`.

        Accepts a JSON object of a known kind whose fields have the right types.
        """
        try:
            said = _decoder.decode(message)
            check_nesting(message)
        except RecursionError:
            raise Malformed("expected JSON that is nested less deeply") from None
        except msgspec.MsgspecError as error:
            raise Malformed(_reason(message, error)) from None
        ref = bytes(said.ref)
        _check_ref(ref)
        match said:
            case _Message():
                return Message(said.type, bytes(said.data), ref)
            case _Auth():
                return Authenticate(said.token, ref)
            case _Subscribe():
                return Subscribe(said.topics, ref, said.last, said.since)
            case _Unsubscribe():
                return Unsubscribe(said.topics, ref)
            case _Answer():
                return Answer(ref, bytes(said.data), _refusal(said.error))

    def event(self, event: Event) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._frame(event_object(event))

    def welcome(self, welcome: Welcome) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._object(
            {
                "kind": "welcome",
                "connection": welcome.connection,
                "user": welcome.user,
                "pod": welcome.pod,
                "id": str(welcome.position),
                "resumed": welcome.resumed,
                "expires_in": welcome.expires_in,
                "ping_interval": welcome.ping_interval,
                **_fields(welcome.heard),
            }
        )

    def reply(self, ref: bytes, data: bytes, parts: Parts | None = None) -> bytes:  # noqa: ARG002
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._frame(b'{"kind":"reply","ref":%b,"data":%b}' % (ref, data))

    def message(self, type_: str, data: bytes, parts: Parts | None = None) -> bytes:  # noqa: ARG002
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._frame(b'{"kind":"message","type":"%b","data":%b}' % (type_.encode(), data))

    def ask(self, ref: bytes, type_: str, data: bytes, parts: Parts | None = None) -> bytes:  # noqa: ARG002
        """See `clarion_gateway.wire.format.WireFormat`."""
        head = (ref, type_.encode(), data)
        return self._frame(b'{"kind":"ask","ref":%b,"type":"%b","data":%b}' % head)

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._object({"kind": "error", "ref": _raw(ref), "code": code, "message": message})

    def gap(self, position: int) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._object({"kind": "gap", "id": str(position)})

    def identity(
        self,
        ref: bytes | None,
        user: str | None,
        expires_in: int | None,
        heard: TopicsHeard | None = None,
    ) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._object(
            {
                "kind": "identity",
                "ref": _raw(ref),
                "user": user,
                "expires_in": expires_in,
                **_fields(heard),
            }
        )

    def subscribed(
        self,
        ref: bytes,
        position: int,
        heard: TopicsHeard,
        past: Sequence[Event] | None = None,
    ) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        head = {"kind": "subscribed", "ref": _raw(ref), "id": str(position)}
        return self._object({**head, **heard.fields, **past_fields(past)})

    def unsubscribed(self, ref: bytes, topics: Sequence[str], kept: Sequence[str]) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        fields = {"kind": "unsubscribed", "ref": _raw(ref), "topics": topics}
        return self._object({**fields, **({"kept": kept} if kept else {})})

    def presence(self, told: PresenceTold) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._object({"kind": "presence", **told.fields})

    def reconnect(self, after_ms: int, reason: str) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        return self._object({"kind": "reconnect", "after_ms": after_ms, "reason": reason})

    def closing(self, label: str, reason: str) -> bytes:  # noqa: ARG002
        """Return nothing: the close frame tells the client."""
        return b""

    def _object(self, value: dict[str, Any]) -> bytes:
        return self._frame(_json.encode(value))


PLAIN: Final = NativeFormat("websocket", frames.text)
DEFLATED: Final = NativeFormat("websocket-deflate", frames.deflated_text)
NATIVE: Final = Framed(PLAIN, DEFLATED)
BARE: Final = NativeFormat("bare", bytes)
"""Messages without frames, in HTTP bodies. No connection has this format."""


def _reason(message: bytes, error: msgspec.MsgspecError) -> str:
    """The fault of a message, in words. For lone surrogates, those of msgspec mislead."""
    if not isinstance(error, msgspec.ValidationError) and surrogates.has_lone(message):
        return f"expected {surrogates.EXPECTED}"
    return str(error)


def _check_ref(ref: bytes) -> None:
    """Check that a ref is a short number, string or null. The reply carries it unchanged.

    Raises:
        Malformed: it is something else, or too long.
    """
    if len(ref) > REF_MAX_BYTES or ref[:1] in _NO_REF:
        raise Malformed(
            f"Expected `int | str | null` of at most {REF_MAX_BYTES} bytes - at `$.ref`"
        )


def _refusal(error: _Refusal | None) -> str | None:
    return None if error is None else f"{error.code}: {error.message}"


def _fields(heard: TopicsHeard | None) -> Mapping[str, Sequence[object]]:
    return {} if heard is None else heard.fields


def _raw(ref: bytes | None) -> msgspec.Raw | None:
    return None if ref is None else msgspec.Raw(ref)
