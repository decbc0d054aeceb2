"""Lone surrogates in JSON text: halves of a pair that stand alone. UTF-8 cannot carry them. Pure.

JavaScript cuts strings between UTF-16 units, and `JSON.stringify` then writes ``\\ud83d`` without
its other half. By JSON's grammar such a text is valid (RFC 8259, section 8.2), but it names no
character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

EXPECTED: Final = r"text without lone surrogates (\ud800 to \udfff), such as a half of an emoji"

# More than this is no mistake of a client, and each costs time.
_FOUND_MAX: Final = 10_000
# A high half without a low one behind it, or a low half without a high one before it. It begins
# with fixed characters, which makes the search fast.
_HALF: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_ESCAPE_BYTES: Final = 6
# Backslashes in a row that are counted. Longer runs are nobody's text.
_RUN_MAX: Final = 64
# Code points for private use, one of which the text does not have.
_STAND_INS: Final = tuple(b"\\u%04x" % code for code in range(0xF8D0, 0xF900))


def has_lone(text: bytes) -> bool:
    """Whether a JSON text has an escape for a lone surrogate."""
    return next(_starts(text), None) is not None


def replaced(text: bytes) -> tuple[bytes, bytes] | None:
    """The text with another escape for each lone surrogate, and that escape.

    Returns:
        The text, of the same length, and the escape, which stands nowhere else in it. None: the
        text has no lone surrogate, or very many.
    """
    starts = list(_starts(text))
    lower = text.lower()
    stand_in = next((each for each in _STAND_INS if each not in lower), None)
    if not starts or len(starts) >= _FOUND_MAX or stand_in is None:
        return None
    changed = bytearray(text)
    for start in starts:
        changed[start : start + _ESCAPE_BYTES] = stand_in
    return bytes(changed), stand_in


def _starts(text: bytes) -> Iterator[int]:
    """The places at which the escapes of lone surrogates begin."""
    for found, match in enumerate(_HALF.finditer(text)):
        if found == _FOUND_MAX:
            return
        start = match.start()
        before = text[max(0, start - _RUN_MAX) : start]
        run = len(before) - len(before.rstrip(b"\\"))
        if run % 2 == 0 and run < _RUN_MAX:  # otherwise this backslash is escaped itself
            yield start
