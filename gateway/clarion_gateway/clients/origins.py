"""Which pages may connect (RFC 6454; cross-site WebSocket hijacking).

Browsers always send an Origin with a WebSocket handshake, and no CORS protects it: the gateway must
look. Clients that are no browsers send none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_TLS_SCHEMES: Final = {"https", "wss"}


class Origins:
    """An allow-list. Empty: only pages from the gateway's own host."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower().rstrip("/") for origin in allowed)

    def allows(self, origin: str | None, host: str | None, *, scheme: str | None = None) -> bool:
        """Whether a request with these ``Origin`` and ``Host`` headers may connect.

        Args:
            scheme: ``X-Forwarded-Proto``, from the proxy that ended TLS. Where clients come by
                TLS, a page of the same host that came without it is another origin, which anybody
                on its way may have written. No page can set this header, neither for a WebSocket
                nor, without a preflight, for a stream. None: nobody says how clients come.
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
    if default_port is None or not parts.netloc or parts.path or parts.query:
        return False
    if parts.scheme == "http" and _is_tls(scheme):
        return False
    return parts.netloc.removesuffix(default_port) == host.removesuffix(default_port)


def _is_tls(scheme: str | None) -> bool:
    """Whether a client came by TLS; of a chain of proxies, the first one knows."""
    return scheme is not None and scheme.partition(",")[0].strip().lower() in _TLS_SCHEMES
