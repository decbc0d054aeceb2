"""The rules for the head of every request, on every port. No I/O.

llhttp has parsed the head. A head that llhttp accepts could still mean one thing to Clarion and
another to a proxy in front.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import httptools

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values, in order."""

MAX_HEADERS: Final = 128
"""Header lines in a head: each costs memory many times its bytes, if these are few."""

_UPGRADE_HEADERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
# uri-host [":" port] (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")


def fault(
    target: bytes, version: str, headers: Headers, by_name: Mapping[bytes, bytes]
) -> str | None:
    """The fault of a head: expected and found values, in words. None: it has no fault.

    Args:
        by_name: the same headers as a mapping.
    """
    if version not in {"1.1", "1.0"}:
        return f"expected HTTP/1.1, got HTTP/{version}"
    if version == "1.0" and b"transfer-encoding" in by_name:  # RFC 9112, section 6.1
        return "expected no Transfer-Encoding in HTTP/1.0"
    if not target.startswith(b"/") and not _has_path(target):
        return "expected a path as the target"
    if len(by_name) < len(headers):
        hosts = [name for name, _ in headers].count(b"host")
        if hosts > 1:  # RFC 9112, section 3.2
            return f"expected one Host header, got {hosts}"
    return _fault_of_host(version, by_name.get(b"host"))


def _fault_of_host(version: str, host: bytes | None) -> str | None:
    if host is None:
        return "expected one Host header, got none" if version == "1.1" else None
    return None if _is_host(host) else "expected a host and an optional port in the Host header"


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """The head as if the client had not asked for an upgrade (RFC 9110, section 7.8)."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % each for each in headers if each[0] not in _UPGRADE_HEADERS]
    return b"\r\n".join([*lines, b"", b""])


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _has_path(target: bytes) -> bool:
    """Whether a target in absolute form (RFC 9112, section 3.2.2) names a path."""
    try:
        path: bytes | None = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        return False
    return path is not None and path.startswith(b"/")
