"""The HTTP/1.1 responses that the services write themselves, without an ASGI app."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from clarion_contract.service.serving import RESPONSE_HEADERS


def lines(headers: Iterable[tuple[str, str]]) -> str:
    """The lines of headers."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


_COMMON: Final = lines(RESPONSE_HEADERS.items())


@lru_cache(maxsize=64)  # clients that wait for the same event get the same head
def response_head(
    status: int, headers: tuple[tuple[str, str], ...], *, common: str = _COMMON
) -> bytes:
    """The head of a response, up to its empty line.

    Args:
        headers: names and values.
        common: lines that other responses have, too; left out: those of every response.
    """
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines(headers)}{common}\r\n"
    return head.encode("latin-1")


def whole_response(
    status: int,
    content_type: str,
    body: bytes,
    headers: Iterable[tuple[str, str]] = (),
    *,
    keeps_alive: bool = False,
) -> bytes:
    """A whole response.

    Args:
        keeps_alive: whether the TCP connection goes on.
    """
    own = (
        ("content-type", content_type),
        ("content-length", str(len(body))),
        ("connection", "keep-alive" if keeps_alive else "close"),
        *headers,
    )
    return response_head(status, own) + body
