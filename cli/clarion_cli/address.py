"""Checks the addresses that commands connect to."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import cache
from typing import Final
from urllib.parse import SplitResult, urlsplit

from clarion_cli.failure import ExitCode, Failure

LOOPBACK: Final = ("127.0.0.1", "::1")
_HTTP: Final = frozenset({"http", "https"})


@cache
def loopback() -> str:
    """This machine's own address: 127.0.0.1, or ::1 on a machine without IPv4."""
    for host in LOOPBACK:
        with suppress(OSError), listening_socket(host) as probe:
            probe.bind((host, 0))
            return host
    return LOOPBACK[0]


def listening_socket(host: str) -> socket.socket:
    """A socket of the host's family, which may take a port in TIME_WAIT, as the services do."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return listener


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL: ``127.0.0.1:8001``, ``[::1]:8001``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def publisher_url(url: str) -> str:
    """``url`` without a trailing slash.

    Raises:
        Failure: the URL is not one of http(s).
    """
    parts = _split(url)
    if parts is None or parts.scheme not in _HTTP:
        raise Failure(
            f"expected a publisher's URL like http://127.0.0.1:8080, got {url!r}", ExitCode.USAGE
        )
    return url.rstrip("/")


def service_url(url: str) -> str:
    """The URL of a service's internal port, without a trailing slash.

    Raises:
        Failure: the URL is not one of http(s).
    """
    parts = _split(url)
    if parts is None or parts.scheme not in _HTTP:
        raise Failure(
            f"expected the URL of an internal port like http://127.0.0.1:9090, got {url!r}",
            ExitCode.USAGE,
        )
    return url.rstrip("/")


def _split(url: str) -> SplitResult | None:
    """The parts of a URL; None if it has no host or an impossible port."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.hostname else None
