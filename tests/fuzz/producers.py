"""Bytes of Socket.IO's producers: entries of their stream, and messages on their channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from clarion_contract.bus.orders import decode_order, encode_order
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.admission import Admission
from clarion_publisher.ingestion.authorise import SCOPES
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.sources.socketio.cluster_messages import read_entry
from clarion_publisher.sources.socketio.emitter_messages import read_event, read_request
from clarion_publisher.sources.socketio.message import UNREADABLE, Content, Emit, Unreadable
from clarion_publisher.sources.socketio.python_messages import read_message
from clarion_publisher.sources.socketio.translation import Translation
from tests.fuzz.publisher import check_same
from tests.fuzz.target import Broken

_TRANSLATIONS: Final = (Translation(), Translation("user:"))
_ADMISSION: Final = Admission(data_max_bytes=4_096)
_CALLER: Final = Claims("socketio", frozenset(SCOPES.values()), 1e12)


def parse_producer(data: bytes) -> None:
    """A message, by its first byte; the next line is its place: the rest of a channel's name."""
    kind = data[:1]
    try:
        content = _READERS.get(kind, read_message)(data[1:])
    except Unreadable as unreadable:
        if unreadable.reason not in UNREADABLE or not str(unreadable):
            raise Broken(f"no reason: {unreadable!r}") from None
        return
    if content is not None:
        for translation in _TRANSLATIONS:
            _check(translation, content)


def _entry(data: bytes) -> Content | None:
    """Fields of an entry of the stream: type, namespace and data, a line each."""
    type_, _, rest = data.partition(b"\n")
    namespace, _, text = rest.partition(b"\n")
    return read_entry({b"uid": b"emitter", b"type": type_, b"nsp": namespace, b"data": text})


def _on_channel(read: Callable[[str, bytes], Content | None]) -> Callable[[bytes], Content | None]:
    def reader(data: bytes) -> Content | None:
        place, _, message = data.partition(b"\n")
        return read(place.decode(errors="replace"), message)

    return reader


_READERS: Final[dict[bytes, Callable[[bytes], Content | None]]] = {
    b"s": _entry,
    b"e": _on_channel(read_event),
    b"r": _on_channel(read_request),
}


def _check(translation: Translation, content: Content) -> None:
    """See content that was read go over the bus, and come out of it as it was."""
    try:
        if not isinstance(content, Emit):
            order = translation.order(content, "1", 0.0)
            if decode_order(encode_order(order)) != order:
                raise Broken(f"{order!r} came back as another one")
            return
        events = translation.events(content, "key")
    except Refusal as refusal:
        _check_refusal(refusal)
        return
    for event in events:
        try:
            if isinstance(event, Refusal):
                raise event
            publication = _ADMISSION.admit(_CALLER, event, trace=None)
        except Refusal as refusal:
            _check_refusal(refusal)
        else:
            msgspec.json.decode(publication.data)
            check_same(publication)


def _check_refusal(refusal: Refusal) -> None:
    if not refusal.detail or refusal.kind.retryable:
        raise Broken(f"no reason, or one that passes: {refusal!r}") from None
