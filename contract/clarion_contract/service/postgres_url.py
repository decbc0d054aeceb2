"""The address of PostgreSQL: checks a URL and the login beside it. No I/O, no driver.

libpq reads the same URLs, and has the last word when a service connects. This module finds what is
commonly wrong before that, in words that show no part of a password.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlunsplit

from clarion_contract.redis.url_parts import split_url

FORM: Final = (
    "expected postgresql://[user[:password]@]host[:port]/database, with special characters in the "
    "password percent-encoded"
)

_SCHEMES: Final = ("postgresql", "postgres")
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/]*)(:\d{1,5})?")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LOGIN: Final = ("user", "password")


def check_postgres_url(url: str) -> str:
    """Return ``url`` unchanged if it has the form of libpq's URLs.

    Several hosts, separated by commas, are those of one database: libpq takes the first one that
    accepts writes. Source: https://www.postgresql.org/docs/current/libpq-connect.html

    Raises:
        ValueError: it has another form. The text shows no part of the URL.
    """
    scheme = url.partition(":")[0]
    driver = scheme.partition("+")[2]
    if driver and scheme.startswith(_SCHEMES):
        raise ValueError(f"{FORM}; leave out +{driver[:16]}, which only SQLAlchemy reads")
    if scheme not in _SCHEMES or not url.startswith(f"{scheme}://"):
        raise ValueError(FORM)
    if "#" in url:
        raise ValueError("expected no #; write a # in a password as %23")
    if _PERCENT.search(url):
        raise ValueError("expected two hexadecimal digits after each %; write a % as %25")
    parts = split_url(url)
    hosts = parts.netloc.rpartition("@")[2]
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")) or "/" in parts.path[1:]:
        raise ValueError(FORM)
    if len(parts.path) <= 1 and "dbname=" not in parts.query:
        raise ValueError("expected the name of a database after the host: …host/database")
    return url


def with_postgres_login(url: str, username: str | None, password: str | None) -> str:
    """A URL with a user and a password that stand elsewhere; None: they don't.

    Raises:
        ValueError: `check_postgres_url` refuses the URL, or the URL has such a part already. The
            text shows no part of either.

    >>> with_postgres_login("postgresql://shop@db/shop", None, "p@ss")
    'postgresql://shop:p%40ss@db/shop'
    """
    parts = split_url(check_postgres_url(url))
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, secret = login.partition(":")
    given = dict(zip(_LOGIN, (username, password), strict=True))
    query = dict(parse_qsl(parts.query))
    in_url = {"user": user or query.get("user"), "password": secret or query.get("password")}
    for part, value in given.items():
        if value is not None and in_url[part]:
            raise ValueError(
                f"expected one {part} for PostgreSQL, got one in the URL and another one beside it"
            )
    if username is None and password is None:
        return url
    user = user if username is None else quote(username, safe="")
    secret = secret if password is None else quote(password, safe="")
    login = f"{user}:{secret}" if secret else user
    return urlunsplit(parts._replace(netloc=f"{login}@{hosts}"))


def shown_postgres_url(url: str) -> str:
    """The URL in a form that is safe to show: hosts and database, without login and options."""
    parts = split_url(url)
    return urlunsplit(
        parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", path=unquote(parts.path))
    )
