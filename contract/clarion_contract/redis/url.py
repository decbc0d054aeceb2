"""The address of Redis: reads ``CLARION_REDIS_URL``. No I/O.

There are three forms:

- one server: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads them
- a primary that Sentinels name: ``redis+sentinel://``
- a cluster, of which the URL names some nodes: ``redis+cluster://``
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.asyncio.connection import parse_url

SENTINEL_PORT: Final = 26_379
NODE_PORT: Final = 6_379

FORMS: Final = (
    "expected redis://[user:password@]host:port/db, "
    "redis+sentinel://[user:password@]host:port,host:port/service/db or "
    "redis+cluster://[user:password@]host:port,host:port, rediss instead of redis for TLS, with "
    "special characters in the password percent-encoded"
)

_SCHEME: Final = re.compile(r"(rediss?)\+(sentinel|cluster)")
_HOST: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:@/]+))(?::(?P<port>\d{1,5}))?"
)
_PORT_MAX: Final = 65_535

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL.

    Attributes:
        options: for a connection to a data node, in redis-py's form; they include the address of
            a single server.
        sentinels: addresses of the Sentinels; empty without Sentinels.
        service: the name by which Sentinels know the primary.
        sentinel_options: for a connection to a Sentinel.
        nodes: of a cluster, asked for the other nodes; empty unless it is a cluster.
    """

    options: dict[str, Any]
    sentinels: tuple[Host, ...] = ()
    service: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[Host, ...] = ()


def parse_redis_url(url: str) -> RedisUrl:
    """Parse a URL of any of the forms.

    Raises:
        ValueError: the URL has none of the forms. The text shows no part of the URL, because a URL
            may hold a password.
    """
    try:
        return _parse(url)
    except ValueError:
        raise ValueError(FORMS) from None


def _parse(url: str) -> RedisUrl:
    parts = urlsplit(url)
    scheme = _SCHEME.fullmatch(parts.scheme)
    if scheme is None:
        return RedisUrl(dict(parse_url(url)))
    login, _, netloc = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    at = f"{scheme[1]}://{login}@" if login else f"{scheme[1]}://"
    if scheme[2] == "cluster":
        options = _options(f"{at}host/0", query)
        if parts.path not in ("", "/", "/0") or options["db"]:
            raise ValueError("a cluster has one database")
        return RedisUrl(options, nodes=_hosts(netloc, NODE_PORT))
    sentinel_login = {
        name: query.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in query
    }
    path = [unquote(piece) for piece in parts.path.split("/")[1:]]
    service, db = _service(path)
    options = _options(f"{at}host/{db}", query)
    sentinel_options = {
        name: value for name, value in options.items() if name not in ("username", "password", "db")
    }
    return RedisUrl(
        options, _hosts(netloc, SENTINEL_PORT), service, sentinel_options | sentinel_login
    )


def _options(url: str, query: dict[str, str]) -> dict[str, Any]:
    """redis-py's reading of login, TLS and options, without the placeholder host."""
    options = dict(parse_url(f"{url}?{urlencode(query)}"))
    del options["host"]
    return options


def _service(path: list[str]) -> tuple[str, int]:
    """The service and the database number in ``/service`` or ``/service/db``."""
    service, db = path if len(path) > 1 else (*path, "0")
    if not service:
        raise ValueError("no service")
    return service, int(db or "0")


def _hosts(netloc: str, default_port: int) -> tuple[Host, ...]:
    hosts = []
    for text in netloc.split(","):
        host = _HOST.fullmatch(text)
        if host is None:
            raise ValueError("no host")
        port = int(host["port"] or default_port)
        if not 0 < port <= _PORT_MAX:
            raise ValueError("no port")
        hosts.append((host["six"] or unquote(host["name"]), port))
    return tuple(hosts)
