"""The pages that may connect (cross-site WebSocket hijacking).

Browsers send an Origin with every WebSocket handshake, and CORS does not protect these handshakes,
so the gateway must check the Origin. Clients that are no browsers send none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

import structlog

from clarion_contract.service.origins import AllowedOrigins, is_own

SETTING: Final = "GATEWAY_ALLOWED_ORIGINS"

_TLS_SCHEMES: Final = {"https", "wss"}
_LOG_SECONDS: Final = 60.0
_LOGGED_MAX: Final = 20
_SHOWN_MAX_CHARACTERS: Final = 100

_log = structlog.get_logger(__name__)


class Origins:
    """The origins that may connect.

    Args:
        allowed: origins such as ``https://app.example.com``, patterns such as
            ``https://*.example.com``. ``*`` allows any. Empty allows only pages from the gateway's
            own host.
        loopback: whether pages of this machine may connect too.
    """

    def __init__(self, allowed: Collection[str], *, loopback: bool = False) -> None:
        self.listed = AllowedOrigins(allowed, loopback=loopback)

    def allows(
        self,
        origin: str | None,
        host: str | None,
        *,
        scheme: str | None = None,
        forwarded_hosts: Iterable[str] = (),
    ) -> bool:
        """Whether a request with these ``Origin`` and ``Host`` headers may connect.

        Args:
            origin: None if there is no such header.
            host: None if there is no such header.
            scheme: ``X-Forwarded-Proto``, from the proxy that ends TLS; None if there is none. If
                it says that the client came by TLS, a page that the same host served without TLS
                is refused: anybody on the network may have written that page. No page can set this
                header, neither for a WebSocket nor, without a preflight, for a stream.
            forwarded_hosts: the hosts that clients asked for, where trusted proxies say so.
        """
        if origin is None or origin in self.listed:
            return True
        if self.listed:
            return False
        hosts = [*forwarded_hosts, *([] if host is None else [host])]
        return any(is_own(origin, each, tls=_is_tls(scheme)) for each in hosts)


class RefusedOrigins:
    """Tells operators and callers of refused origins. Each is logged once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = -_LOG_SECONDS
        self._logged: set[str] = set()

    def refuse(self, origin: str, host: str | None) -> str:
        """The words for the answer, which name the setting to change."""
        origin, host = origin[:_SHOWN_MAX_CHARACTERS], (host or "")[:_SHOWN_MAX_CHARACTERS]
        now = self._clock()
        if now - self._began_at >= _LOG_SECONDS:
            self._logged.clear()
            self._began_at = now
        if origin not in self._logged and len(self._logged) < _LOGGED_MAX:
            self._logged.add(origin)
            _log.warning("origin refused", origin=origin, host=host, setting=SETTING)
        return (
            f"this Origin may not connect: {origin!r} is not among {SETTING}, "
            f"and not the page of the Host {host!r}"
        )


def forwarded_hosts(host: str | None, port: str | None) -> list[str]:
    """The hosts that a client may have asked for, by ``X-Forwarded-Host`` and ``-Port``.

    In a chain of proxies, the first value is the client's. Proxies often leave the port out of the
    host.
    """
    if host is None:
        return []
    host = host.partition(",")[0].strip()
    port = (port or "").partition(",")[0].strip()
    return [host, f"{host}:{port}"] if port.isdigit() else [host]


def readable_by(origin: str | None) -> list[tuple[str, str]]:
    """Headers by which a page of another origin may read an answer, refusals included.

    A page that could not read a refusal would take it for a lost network, and come back for ever.
    """
    if origin is None:
        return []
    return [("access-control-allow-origin", origin), ("vary", "origin")]


def _is_tls(scheme: str | None) -> bool:
    """Whether a client came by TLS. In a chain of proxies, the first value is the client's."""
    return scheme is not None and scheme.partition(",")[0].strip().lower() in _TLS_SCHEMES
