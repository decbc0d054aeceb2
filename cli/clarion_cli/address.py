"""Addresses that commands connect to: which of them are this machine, how WebSocket spells them."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit

from clarion_cli.failure import Failure

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def is_local(url: str) -> bool:
    """Whether the URL names this machine: then no proxy of the environment may stand between."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def websocket_url(url: str) -> str:
    """The address of a gateway's socket: ``http://host:8001`` becomes ``ws://host:8001/ws``.

    Raises:
        Failure: neither http(s) nor ws(s).
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise Failure(f"expected a URL like http://127.0.0.1:8001, got {url}", exit_code=2)
    path = parts.path if parts.path.strip("/") else "/ws"
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, parts.query, ""))
