"""Values of HTTP headers as RFC 9110 allows them, brought into one form. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_WHITE_SPACE: Final = b" \t"


def bare(value: bytes) -> bytes:
    """A value without the white space around it (RFC 9112, section 5.1)."""
    return value.strip(_WHITE_SPACE)


def members(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """The members of a list-valued header, in lower case and in order.

    A list may be spread over several lines of the same name, and have empty members (RFC 9110,
    sections 5.3 and 5.6.1).

    Args:
        headers: names in lower case, and values.
        name: in lower case.
    """
    return [
        member
        for key, value in headers
        if key == name
        for part in value.split(b",")
        if (member := bare(part).lower())
    ]
