"""An event, a producer's publication, and the bytes that carry an event over the bus.

Pure values, no I/O. The bus message is one short header line followed by the producer's JSON. No
service parses that JSON again after the publisher:

    <id> <prev> <type> <exclude or -> <traceparent or ->\\n<data>

A space before the data says that the event has no history: no log holds it. A tab says that it is a
piece of a growing text (`clarion_contract.texts`). A space behind the data says that they are the
arguments of an event of Socket.IO: an array of several, or ``null`` for none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from clarion_contract.events.audience import Audience
from clarion_contract.events.exclusion import CONNECTION, EXCLUSION

# The OpenAPI document shows these patterns, so they use only syntax that the regular expressions of
# every language have. In Python, `$` also matches before a final newline, which would break the
# header of the message: use `fullmatch`, or `to_the_end`.
TYPE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"
KEY_MAX_CHARACTERS: Final = 255
CONNECTION_ID_PATTERN: Final = f"^{CONNECTION}$"
TRACEPARENT_PATTERN: Final = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"

_TYPE: Final = re.compile(TYPE_PATTERN)
_POSITION: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_NONE: Final = "-"
_NO_HISTORY: Final = b" "
_OF_TEXT: Final = b"\t"
_ARGUMENTS: Final = b" "
# Memory of the objects around an event's data.
_OVERHEAD_BYTES: Final = 400
# The header that publish.lua writes. A message with any other header must never reach a socket.
_HEADER: Final = re.compile(
    rb"([0-9]{1,16}) ([0-9]{1,16}) ([A-Za-z0-9][A-Za-z0-9._:/-]{0,127}) "
    + rf"(-|{EXCLUSION})".encode()
    + rb" (-|00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"
)


class InvalidMessage(ValueError):
    """Bytes on a bus channel that are not a bus message."""


class InvalidType(ValueError):
    """A text that cannot be an event's type."""


class InvalidEvent(ValueError):
    """An event that differs from its declaration in the catalogue; the text says how."""


class InvalidPosition(ValueError):
    """A text that is not an event id."""


class Publication(msgspec.Struct, frozen=True, gc=False):
    """A producer's event on its way to the bus. A struct, for the same reason as `Event`.

    Attributes:
        data: JSON text in UTF-8, passed on byte for byte.
        key: the idempotency key, already scoped to its producer. None: never a duplicate.
        exclude: the connections that must not receive the event, see
            `clarion_contract.events.exclusion`.
        trace: a W3C traceparent.
        history: whether clients that come back later get the event. False: only clients get it
            that are connected when it is published.
        arguments: the data are several arguments in an array, or ``null`` for none. Clients of
            Socket.IO get them one by one.
    """

    audience: Audience
    type: str
    data: bytes
    key: str | None = None
    exclude: str | None = None
    trace: str | None = None
    history: bool = True
    arguments: bool = False

    @property
    def payload(self) -> bytes:
        """The data as the bus carries them, with the mark of `arguments`."""
        data = self.data.strip(b" \t")  # these have a meaning before and behind the data
        return data + _ARGUMENTS if self.arguments else data

    @property
    def header(self) -> str:
        """The producer's part of the bus message's header: type, exclude, trace."""
        return f"{self.type} {self.exclude or _NONE} {self.trace or _NONE}"


@dataclass(frozen=True, slots=True)
class Published:
    """The bus's answer to one publication.

    Attributes:
        id: the event's id. If ``duplicate``: the id of the first event with the same key.
        gateways: pods that were subscribed to the event's stream when it was published.
    """

    id: int
    duplicate: bool
    gateways: int


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event as the bus delivers it.

    A struct, because a pod makes tens of thousands a second: a struct takes 0.1 to 0.2 µs, a
    frozen data class 1.4 to 1.8 µs.

    Attributes:
        id: microseconds since the epoch, forced above every id issued before (a hybrid logical
            clock). Ids rise in delivery order over all streams.
        prev: id of the event before this one on its stream, or a floor below which Redis knows
            nothing of the stream.
        data: JSON text in UTF-8, as the producer wrote it.
        history: see `Publication`.
        of_text: whether it is a piece of a growing text. Its data is then a
            `clarion_contract.texts.piece.Piece`.
        arguments: see `Publication`.
    """

    id: int
    prev: int
    audience: Audience
    type: str
    data: bytes
    exclude: str | None = None
    trace: str | None = None
    history: bool = True
    of_text: bool = False
    arguments: bool = False

    @property
    def cost_bytes(self) -> int:
        """Memory that the event takes, about."""
        excluded_bytes = 0 if self.exclude is None else len(self.exclude)
        return len(self.data) + excluded_bytes + _OVERHEAD_BYTES

    @property
    def time(self) -> str:
        """When the event was published, computed from the id: RFC 3339, UTC, microseconds."""
        seconds, microseconds = divmod(self.id, 1_000_000)
        return f"{_to_the_second(seconds)}.{microseconds:06}Z"


def to_the_end(pattern: str) -> str:
    """Translate a public pattern for code that can only search, such as msgspec's.

    Example: ``re.search(to_the_end(TYPE_PATTERN), "order.updated\\n")`` finds nothing.
    """
    return pattern.removesuffix("$") + r"\Z"


def check_type(type_: str) -> str:
    """Return ``type_`` unchanged when it can be an event's type.

    Raises:
        InvalidType: the text does not match `TYPE_PATTERN`, so the bus could not carry it.
    """
    if not _TYPE.fullmatch(type_):
        raise InvalidType(f"expected an event type of the form {TYPE_PATTERN}, got {type_[:64]!r}")
    return type_


@lru_cache(maxsize=64)
def _to_the_second(seconds: int) -> str:
    """Cached, because formatting costs 5 µs and a busy second has thousands of events."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_message(audience: Audience, message: bytes) -> Event:
    """The event in a bus message.

    Raises:
        InvalidMessage: the header is not the five fields that publish.lua writes.
    """
    header, separator, data = message.partition(b"\n")
    fields = _HEADER.fullmatch(header)
    if fields is None or not separator:
        raise InvalidMessage(
            f"expected '<id> <prev> <type> <exclude> <trace>' and a newline, got {header[:200]!r}"
        )
    event_id, prev, kind, exclude, trace = fields.groups()
    history = not data.startswith(_NO_HISTORY)
    of_text = data.startswith(_OF_TEXT)
    if of_text or not history:
        data = data[1:]
    arguments = data.endswith(_ARGUMENTS)
    return Event(
        int(event_id),
        int(prev),
        audience,
        kind.decode(),
        data[:-1] if arguments else data,
        _some(exclude),
        _some(trace),
        history,
        of_text,
        arguments,
    )


def parse_position(text: str) -> int:
    """The event id that a client names as its position (``since``, ``Last-Event-ID``).

    Raises:
        InvalidPosition: anything but 1 to 16 ASCII digits.
    """
    if not _POSITION.fullmatch(text):
        raise InvalidPosition(f"expected an event id of 1 to 16 digits, got {text[:32]!r}")
    return int(text)


def _some(field: bytes) -> str | None:
    return None if field == b"-" else field.decode()
