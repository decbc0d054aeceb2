"""The connections that an event leaves out, as one text in its header. Pure.

The text is the id of one connection, or a list: ``,<name>,<name>``. A name in a list is the id of a
connection or the name of a stream, such as ``topic:room.7``: then its members are left out.

Producers pass on ids that clients have sent them. An id must never name a stream: ``all`` would
leave out every client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from clarion_contract.events.audience import shared_audiences

NAMES_MAX_CHARACTERS: Final = 16_384
LIST: Final = ","
"""The beginning of a list, and of each name in it."""

CONNECTION: Final = r"[A-Za-z0-9_-]{1,64}"
"""Regular expression for the id of a connection."""

# The characters that a stream's name has, see `clarion_contract.events.audience.Audience`.
_LIST: Final = rf",[A-Za-z0-9_.~@:+%,-]{{1,{NAMES_MAX_CHARACTERS}}}"
EXCLUSION: Final = rf"{CONNECTION}|{_LIST}"
"""Regular expression for the text."""

_connection: Final = re.compile(CONNECTION)
_text: Final = re.compile(EXCLUSION)
_SHARED_STREAMS: Final = frozenset(audience.stream for audience in shared_audiences())

# Texts whose names are remembered: those of a round are asked for again and again. Memory is
# bounded, since long ones, of up to 5,000 names, are few.
_REMEMBERED: Final = 1_024
_LONG_CHARACTERS: Final = 512
_LONG_REMEMBERED: Final = 64


def is_exclusion(text: str) -> bool:
    """Whether a text is the id of a connection, or a list as above."""
    return _text.fullmatch(text) is not None


def is_connection_id(text: str) -> bool:
    """Whether a text can be the id of a connection."""
    return _connection.fullmatch(text) is not None and text not in _SHARED_STREAMS


def exclusion_of(names: Iterable[str]) -> str | None:
    """The text for ids of connections and names of streams; None: there are none."""
    text = "".join(f"{LIST}{name}" for name in dict.fromkeys(names))
    return text or None


def extended(text: str | None, name: str) -> str:
    """A text of `exclusion_of` with one name more, unless it has the name.

    >>> extended(",topic:room.7", "user:alice")
    ',topic:room.7,user:alice'
    """
    text = text or ""
    return text if f"{LIST}{name}{LIST}" in f"{text}{LIST}" else f"{text}{LIST}{name}"


def names_in(text: str) -> frozenset[str]:
    """The names in a text.

    >>> sorted(names_in(",topic:room.7,user:alice"))
    ['topic:room.7', 'user:alice']
    """
    return _few_names(text) if len(text) <= _LONG_CHARACTERS else _many_names(text)


def _names_in(text: str) -> frozenset[str]:
    if text.startswith(LIST):
        return frozenset(name for name in text.split(LIST) if name)
    return frozenset((text,)) - _SHARED_STREAMS


_few_names: Final = lru_cache(maxsize=_REMEMBERED)(_names_in)
_many_names: Final = lru_cache(maxsize=_LONG_REMEMBERED)(_names_in)
