"""A limit on how deep JSON text from outside may be nested, the same on every Python. No I/O.

Up to Python 3.13 the parsers refuse text of about a thousand levels. Later ones go on as long as
the stack lasts, and programs that read such an event could not.
"""

from __future__ import annotations

import re
from typing import Final

LEVELS_MAX: Final = 510
"""The deepest nesting of a text: 500 levels of an event's data, and some around them."""

# Possessive, so that a string without an end is looked at once.
_PARTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]+|[\]}]+', re.DOTALL)


def may_be_too_deep(text: bytes) -> bool:
    """Whether text has brackets enough to be nested too deeply; nearly none has."""
    return text.count(b"[") + text.count(b"{") > LEVELS_MAX


def check_nesting(text: bytes) -> None:
    """Refuse text that is nested too deeply; costs next to nothing where that cannot be.

    Args:
        text: JSON. In other text, strings and brackets are found as well as possible.

    Raises:
        RecursionError: as parsers raise it, with words that may be shown.

    Example:
        >>> check_nesting(b'{"list": [[1], [2]]}')
    """
    if not may_be_too_deep(text):
        return
    levels = 0
    for part in _PARTS.finditer(text):
        first = part[0][:1]
        if first in b"[{":
            levels += len(part[0])
            if levels > LEVELS_MAX:
                raise RecursionError(f"expected at most {LEVELS_MAX} levels of nesting")
        elif first != b'"':
            levels -= len(part[0])
