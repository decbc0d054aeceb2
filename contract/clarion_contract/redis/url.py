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
from urllib.parse import quote, unquote, urlencode, urlunsplit

from redis.asyncio.connection import parse_url

from clarion_contract.redis.url_options import InvalidRedisUrl, read_options
from clarion_contract.redis.url_parts import split_url

SENTINEL_PORT: Final = 26_379
NODE_PORT: Final = 6_379

FORMS: Final = (
    "expected redis://[user:password@]host:port/db, "
    "redis+sentinel://[user:password@]host:port,host:port/service/db or "
    "redis+cluster://[user:password@]host:port,host:port, rediss instead of redis for TLS, with "
    "special characters in the password percent-encoded"
)

_SCHEME: Final = re.compile(r"(rediss?|unix(?!\+))(?:\+(sentinel|cluster))?")
_DATABASE: Final = re.compile(r"(?:/\d{0,9})?")
_LOGIN: Final = ("username", "password")
# RESP2 is what every server and every proxy speaks, and Clarion needs nothing of RESP3.
_PROTOCOL: Final = 2
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
        protocol: version of RESP for commands, 2 or 3. Subscriptions always use 2.
    """

    options: dict[str, Any]
    sentinels: tuple[Host, ...] = ()
    service: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict)
    nodes: tuple[Host, ...] = ()
    protocol: int = _PROTOCOL


def parse_redis_url(url: str) -> RedisUrl:
    """Parse a URL of any of the forms.

    Raises:
        ValueError: the URL has none of the forms, or has a wrong option. The text shows no part of
            the URL, because a URL may hold a password.
    """
    try:
        return _parse(url)
    except InvalidRedisUrl:
        raise
    except ValueError:
        raise ValueError(FORMS) from None


def with_login(url: str, username: str | None, password: str | None) -> str:
    """A URL of any of the forms with a user and a password that stand elsewhere; None: they don't.

    Raises:
        ValueError: `parse_redis_url` refuses the URL, or the URL has such a part already. The text
            shows no part of either.

    >>> with_login("redis://alice@cache:6379/0", None, "p@ss")
    'redis://alice:p%40ss@cache:6379/0'
    """
    of_url = parse_redis_url(url).options
    for part, given in zip(_LOGIN, (username, password), strict=True):
        if given is not None and of_url.get(part):
            raise ValueError(
                f"expected one {part} for Redis, got one in CLARION_REDIS_URL and one in "
                f"CLARION_REDIS_{part.upper()}"
            )
    if username is None and password is None:
        return url
    parts = split_url(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, secret = login.partition(":")
    user = user if username is None else quote(username, safe="")
    secret = secret if password is None else quote(password, safe="")
    return urlunsplit(parts._replace(netloc=f"{user}:{secret}@{hosts}"))


def _parse(url: str) -> RedisUrl:
    parts = split_url(url)
    if parts.fragment or "#" in url:
        raise InvalidRedisUrl("expected no #; write a # in a password as %23")
    scheme = _SCHEME.fullmatch(parts.scheme)
    if scheme is None:
        raise ValueError("no such scheme")
    secure, kind = scheme[1] == "rediss", scheme[2]
    login, _, netloc = parts.netloc.rpartition("@")
    query = read_options(parts.query, secure=secure, sentinel=kind == "sentinel")
    protocol = int(query.pop("protocol", _PROTOCOL))
    at = f"{scheme[1]}://{login}@" if login else f"{scheme[1]}://"
    if kind == "cluster":
        options = _options(f"{at}host/0", query)
        if parts.path not in ("", "/", "/0") or options["db"]:
            raise ValueError("a cluster has one database")
        return RedisUrl(options, nodes=_hosts(netloc, NODE_PORT), protocol=protocol)
    if kind == "sentinel":
        return _behind_sentinels(at, netloc, parts.path, query, protocol)
    _check_server(scheme[1], netloc, parts.path)
    return RedisUrl(_read(f"{at}{netloc}{parts.path}", query), protocol=protocol)


def _check_server(scheme: str, netloc: str, path: str) -> None:
    if scheme == "unix":
        if netloc or not path.strip("/"):
            raise ValueError("no path of a socket")
    elif len(_hosts(netloc, NODE_PORT)) > 1 or not _DATABASE.fullmatch(path):
        # No database: such as the rest of a password with an unescaped slash.
        raise ValueError("several hosts, or no number of a database")


def _behind_sentinels(
    at: str, netloc: str, path: str, query: dict[str, str], protocol: int
) -> RedisUrl:
    sentinel_login = {
        name: query.pop(f"sentinel_{name}") for name in _LOGIN if f"sentinel_{name}" in query
    }
    if "@" in path:  # the rest of a password with an unescaped slash
        raise ValueError("an unescaped @")
    service, db = _service([unquote(piece) for piece in path.split("/")[1:]])
    options = _options(f"{at}host/{db}", query)
    sentinel_options = {
        name: value for name, value in options.items() if name not in (*_LOGIN, "db")
    }
    return RedisUrl(
        options,
        _hosts(netloc, SENTINEL_PORT),
        service,
        sentinel_options | sentinel_login,
        protocol=protocol,
    )


def _options(url: str, query: dict[str, str]) -> dict[str, Any]:
    """redis-py's reading of login, TLS and options, without the placeholder host."""
    options = _read(url, query)
    del options["host"]
    return options


def _read(url: str, query: dict[str, str]) -> dict[str, Any]:
    """redis-py's reading of a URL."""
    return dict(parse_url(f"{url}?{urlencode(query)}"))


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
