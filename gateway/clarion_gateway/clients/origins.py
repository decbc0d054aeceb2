"""Which pages may connect (RFC 6454; cross-site WebSocket hijacking).

Browsers always send an Origin with a WebSocket handshake, and no CORS protects it: the gateway must
look. Clients that are no browsers send none.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit


class Origins:
    """An allow-list. Empty: only pages from the gateway's own host."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower().rstrip("/") for origin in allowed)

    def allows(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with these ``Origin`` and ``Host`` headers may connect."""
        if origin is None or self._any:
            return True
        origin = origin.lower()
        if self._allowed:
            return origin in self._allowed
        return host is not None and _host_of(origin) == host.lower()


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # no valid IPv6 address in brackets
        return None
