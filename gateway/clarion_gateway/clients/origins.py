"""Which pages may connect (RFC 6454; cross-site WebSocket hijacking).

Browsers always send an Origin with a WebSocket handshake, and no CORS protects it: the gateway must
look. Clients that are no browsers send none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
# A proxy may name the scheme of a WebSocket by its own name.
_SCHEMES: Final = {"http": {"http", "ws"}, "https": {"https", "wss"}}


class Origins:
    """An allow-list. Empty: only pages from the gateway's own host."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower().rstrip("/") for origin in allowed)

    def allows(self, origin: str | None, host: str | None, *, scheme: str | None = None) -> bool:
        """Whether a request with these ``Origin`` and ``Host`` headers may connect.

        Args:
            scheme: ``X-Forwarded-Proto``, from the proxy that ended TLS: a page that came without
                TLS must not connect to its own host with it. None: nobody says; both may. No page
                can set this header, neither for a WebSocket nor, without a preflight, for a stream.
        """
        if origin is None or self._any:
            return True
        origin = origin.lower()
        if self._allowed:
            return origin in self._allowed
        return host is not None and _is_own(origin, host.lower(), scheme)


def _is_own(origin: str, host: str, scheme: str | None) -> bool:
    """Whether a page was served by the host, and by the scheme that it was asked for with."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # no valid IPv6 address in brackets
        return False
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if default_port is None or not parts.netloc:
        return False
    if scheme is not None and scheme.strip().lower() not in _SCHEMES[parts.scheme]:
        return False
    return parts.netloc.removesuffix(default_port) == host.removesuffix(default_port)
