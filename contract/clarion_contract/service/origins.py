"""Origins (RFC 6454) and the lists that allow them. Pure.

Both services have such a list: the gateway for pages that connect, the publisher for pages that
publish in development.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

ANY: Final = "*"
NULL: Final = "null"
"""The origin of pages without one: sandboxed frames, files."""

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_WEB: Final = re.compile(r"https?://(\*\.)?([a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(:\d+)?")
# Desktop and mobile shells: capacitor://localhost, tauri://localhost, file://, chrome-extension://id.
_APP: Final = re.compile(r"(?!https?:|wss?:)[a-z][a-z0-9+.-]*://[^/?#\s,*]*")
_LOOPBACK: Final = re.compile(r"https?://(([a-z0-9_-]+\.)*localhost|127(\.\d+){3}|\[::1\])(:\d+)?")


def normal(origin: str) -> str:
    """An origin in lower case, without the default port of its scheme."""
    origin = origin.lower()
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], "\0"))


def check_entries(entries: Sequence[str]) -> None:
    """Check the entries of an allow-list.

    Raises:
        ValueError: an entry is no origin and no pattern; the text says what is wrong with it.
    """
    for entry in entries:
        if entry in {ANY, NULL}:
            continue
        text = _bare(entry)
        if not _WEB.fullmatch(text) and not _APP.fullmatch(text):
            raise ValueError(f"expected {_expected(entry)}, got {entry[:80]!r}")


def _expected(entry: str) -> str:
    scheme, separator, rest = entry.partition("://")
    if not separator:
        return "a scheme, as in https://app.example.com"
    if scheme.lower() in {"ws", "wss"}:
        return "the scheme of the page, http or https"
    if "/" in rest.rstrip("/"):
        return "an origin without a path"
    if "*" in rest:
        return "* for the first part of the host only, as in https://*.example.com"
    return (
        "an origin such as https://app.example.com, https://*.example.com or capacitor://localhost"
    )


def _bare(entry: str) -> str:
    """An entry in its normal form; a slash behind a web page's host is forgiven."""
    text = entry.lower()
    return normal(text.rstrip("/") if text.startswith(("http://", "https://")) else text)


class AllowedOrigins(Collection[str]):
    """An allow-list; a collection, since Starlette's CORS asks collections.

    Args:
        entries: have passed `check_entries`. ``https://*.example.com`` allows every host below
            ``example.com``, but not that host itself. ``*`` allows any origin.
        loopback: whether pages of this machine are allowed too.
    """

    def __init__(self, entries: Collection[str], *, loopback: bool = False) -> None:
        self._any = ANY in entries
        names = {_bare(entry) for entry in entries}
        self._exact = frozenset(name for name in names if "://*." not in name)
        self._below = tuple(
            (scheme + "://", rest)
            for scheme, _, rest in (name.partition("://*") for name in names)
            if rest.startswith(".")
        )
        self._loopback = loopback

    def __len__(self) -> int:
        return self._any + len(self._exact) + len(self._below)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._exact))

    def __contains__(self, origin: object) -> bool:
        if self._any:
            return True
        if not isinstance(origin, str):
            return False
        origin = normal(origin)
        if origin in self._exact or (self._loopback and _LOOPBACK.fullmatch(origin)):
            return True
        return any(
            origin.startswith(scheme) and origin.endswith(domain) and _is_web(origin)
            for scheme, domain in self._below
        )


def _is_web(origin: str) -> bool:
    """Whether the whole text is the origin of a web page: no path or user may hide in it."""
    return "*" not in origin and _WEB.fullmatch(origin) is not None


def is_own(origin: str, host: str, *, tls: bool) -> bool:
    """Whether a page was served by a host.

    Args:
        tls: whether clients come by TLS. Anybody on the way may have written a page that came
            without it, so it is another origin.
    """
    try:
        parts = urlsplit(origin.lower())
    except ValueError:  # brackets around something that is no IPv6 address
        return False
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if default_port is None or not parts.netloc or parts.path or parts.query:
        return False
    if parts.scheme == "http" and tls:
        return False
    return parts.netloc.removesuffix(default_port) == host.lower().removesuffix(default_port)
