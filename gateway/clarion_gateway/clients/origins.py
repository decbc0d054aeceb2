"""Decides from which web pages a browser may connect (Origin, RFC 6454).

The HTTP protocol asks it for each request for a connection. CORS does not protect WebSockets, so
the gateway has to check the Origin itself, against cross-site WebSocket hijacking. Browsers always
send one with a WebSocket handshake; other clients send none.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_TLS_SCHEMES: Final = {"https", "wss"}


class Origins:
    """The origins that may connect.

    Args:
        allowed: origins such as ``https://app.example.com``. ``*`` allows any. Empty allows only
            pages from the gateway's own host.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(origin.lower().rstrip("/") for origin in allowed)

    def allows(self, origin: str | None, host: str | None, *, scheme: str | None = None) -> bool:
        """Whether a request with these ``Origin`` and ``Host`` headers may connect.

        Args:
            origin: None if there is no such header.
            host: None if there is no such header.
            scheme: ``X-Forwarded-Proto``, from the proxy that ends TLS; None if there is none. If
                it says that the client came by TLS, a page that the same host served without TLS
                is refused: anybody on the network may have written that page. No page can set this
                header, neither for a WebSocket nor, without a preflight, for a stream.
        """
        if origin is None or self._any:
            return True
        origin = origin.lower()
        if self._allowed:
            return origin in self._allowed
        return host is not None and _is_own(origin, host.lower(), scheme)


def _is_own(origin: str, host: str, scheme: str | None) -> bool:
    """Whether the gateway's own host served the page, with TLS if clients come by TLS."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # brackets around something that is no IPv6 address
        return False
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    if default_port is None or not parts.netloc or parts.path or parts.query:
        return False
    if parts.scheme == "http" and _is_tls(scheme):
        return False
    return parts.netloc.removesuffix(default_port) == host.removesuffix(default_port)


def _is_tls(scheme: str | None) -> bool:
    """Whether a client came by TLS. In a chain of proxies, the first value is the client's."""
    return scheme is not None and scheme.partition(",")[0].strip().lower() in _TLS_SCHEMES
