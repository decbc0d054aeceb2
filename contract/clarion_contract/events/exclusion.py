"""The connections that an event leaves out, as one text in its header. Pure.

The text is the id of one connection, or a list: ``,<name>,<name>``. A name in a list is the id of a
connection or the name of a stream, such as ``topic:room.7``: then its members are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

NAMES_MAX_CHARACTERS: Final = 16_384

_CONNECTION: Final = r"[A-Za-z0-9_-]{1,64}"
# The characters that a stream's name has, see `clarion_contract.events.audience.Audience`.
_LIST: Final = rf",[A-Za-z0-9_.~@:+%,-]{{1,{NAMES_MAX_CHARACTERS}}}"
EXCLUSION: Final = rf"{_CONNECTION}|{_LIST}"
"""Regular expression for the text."""

_connection: Final = re.compile(_CONNECTION)
_text: Final = re.compile(EXCLUSION)


def is_exclusion(text: str) -> bool:
    """Whether a text is the id of a connection, or a list as above."""
    return _text.fullmatch(text) is not None


def is_connection_id(text: str) -> bool:
    """Whether a text can be the id of a connection."""
    return _connection.fullmatch(text) is not None


def exclusion_of(names: Iterable[str]) -> str | None:
    """The text for ids of connections and names of streams; None: there are none."""
    text = "".join(f",{name}" for name in dict.fromkeys(names))
    return text or None


@lru_cache(maxsize=1_024)
def names_in(text: str) -> frozenset[str]:
    """The names in a text.

    >>> sorted(names_in(",topic:room.7,user:alice"))
    ['topic:room.7', 'user:alice']
    """
    return frozenset(name for name in text.split(",") if name)
