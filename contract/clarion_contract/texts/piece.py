"""The pieces of a growing text, and how several become one. Pure values, no I/O.

A piece is an event's data, which `clarion_contract.bus` writes. A piece that is whole holds
everything so far: it replaces what a client has. Any other piece is appended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import structs

from clarion_contract.events.event import Event

State = Literal["writing", "done", "failed", "stopped"]
"""The states of a text. All but the first are ends."""

NAME_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
REASON_PATTERN: Final = r"^[a-z0-9_]{0,64}$"
_NAME: Final = re.compile(NAME_PATTERN)
_REASON: Final = re.compile(REASON_PATTERN)


class Piece(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The data of one event of a text.

    Attributes:
        stream: the text's name.
        seq: the number of its newest piece, from 1.
        whole: whether ``text`` is everything so far.
        reason: one word, if the text failed: ``error``, ``cancelled``, ``lost`` (its producer is
            silent), ``too_large``, or the application's own.
    """

    stream: str
    seq: int
    whole: bool
    state: State
    text: str
    reason: str = ""


class InvalidText(ValueError):
    """A name, a reason or a piece that cannot be."""


_decode: Final = msgspec.json.Decoder(Piece).decode
_encode: Final = msgspec.json.Encoder().encode


def check_name(name: str) -> str:
    """Return ``name`` unchanged when it can be a text's name.

    Raises:
        InvalidText: it does not match `NAME_PATTERN`.
    """
    if not _NAME.fullmatch(name):
        raise InvalidText(f"expected a name of the form {NAME_PATTERN}, got {name[:80]!r}")
    return name


def check_reason(reason: str) -> str:
    """Return ``reason`` unchanged when it is empty or one word.

    Raises:
        InvalidText: it does not match `REASON_PATTERN`.
    """
    if not _REASON.fullmatch(reason):
        raise InvalidText(f"expected a reason of the form {REASON_PATTERN}, got {reason[:80]!r}")
    return reason


def in_json(piece: str) -> bytes:
    """A piece as it stands within a JSON string, in UTF-8. Two of them joined are one of both.

    Raises:
        InvalidText: it has half a surrogate pair.
    """
    try:
        return _encode(piece)[1:-1]
    except UnicodeEncodeError:
        raise InvalidText("expected text in Unicode, got half of a surrogate pair") from None


def piece_of(event: Event) -> Piece:
    """The piece that an event of a text has as its data."""
    return _decode(event.data)


def whole_pieces(events: Iterable[Event]) -> tuple[list[Event], bool]:
    """Join the pieces of each text to one event, where everything so far is known.

    Args:
        events: in id order, of one topic; others than pieces stay.

    Returns:
        The events, and whether pieces are left whose beginning is not among them.

    Example: of the pieces ``Hel`` (whole) and ``lo``, the second event remains, with ``Hello``.
    """
    kept: dict[int, Event] = {}
    wholes: dict[tuple[str, str], Piece] = {}
    places: dict[tuple[str, str], list[int]] = {}
    is_short = False
    for place, event in enumerate(events):
        if not event.of_text:
            kept[place] = event
            continue
        piece = piece_of(event)
        key = event.audience.stream, piece.stream
        before = wholes.get(key)
        if piece.whole:
            joined = piece
        elif before is None:
            joined = None
        elif piece.seq <= before.seq:
            continue
        else:
            joined = structs.replace(piece, whole=True, text=before.text + piece.text)
        if joined is None:
            is_short = True
        else:
            wholes[key] = joined
            for earlier in places.pop(key, ()):
                del kept[earlier]
        places.setdefault(key, []).append(place)
        kept[place] = event if joined in {None, piece} else _with(event, joined)
    return list(kept.values()), is_short


def _with(event: Event, piece: Piece | None) -> Event:
    return structs.replace(event, data=_encode(piece))


def newest(events: Sequence[Event]) -> int:
    """The highest id of the pieces among events; 0: there are none."""
    return max((event.id for event in events if event.of_text), default=0)
