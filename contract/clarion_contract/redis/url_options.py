"""The options in the query of a Redis URL: their names and the values that they take. No I/O.

The values become redis-py's. An error names an option only if Clarion or redis-py knows it:
anything else may be a part of a password with an unescaped ``?`` or ``&``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from redis.asyncio.connection import URL_QUERY_ARGUMENT_PARSERS

_TLS_PREFIX: Final = "ssl_"

_VALUES: Final[Mapping[str, tuple[str, Callable[[str], bool]]]] = {
    "db": ("a number from 0 on", str.isdecimal),
    "protocol": ("2 or 3", lambda value: value in ("2", "3")),
    "socket_read_size": ("a number of bytes", lambda value: value.isdecimal() and int(value) > 0),
    "ssl_cert_reqs": (
        "none, optional or required",
        lambda value: value in ("none", "optional", "required"),
    ),
    "ssl_check_hostname": (
        "true or false",
        lambda value: value.lower() in ("true", "false", "yes", "no", "1", "0"),
    ),
    "ssl_min_version": ("a number, such as 771 for TLS 1.2", str.isdecimal),
}
_TEXTS: Final = (
    "username", "password", "client_name", "sentinel_username", "sentinel_password",
    "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password",
    "ssl_ciphers", "ssl_include_verify_flags", "ssl_exclude_verify_flags",
)  # fmt: skip
OPTIONS: Final = (*_VALUES, *_TEXTS)
"""The names of all options that a URL may have."""

# redis-py's options whose values Clarion sets, because it promises how long things take.
_OURS: Final = frozenset(URL_QUERY_ARGUMENT_PARSERS) - frozenset(OPTIONS) | {
    "decode_responses", "encoding", "retry", "retry_on_error",
}  # fmt: skip


class InvalidRedisUrl(ValueError):
    """A Redis URL is wrong. The text is one line that shows no value of the URL."""


def read_options(query: str, *, secure: bool, sentinel: bool) -> dict[str, str]:
    """The options of a query.

    Args:
        secure: the scheme asks for TLS.
        sentinel: the URL names Sentinels.

    Raises:
        InvalidRedisUrl: an option is unknown, stands twice or in the wrong place, or has a value
            that it cannot have.
    """
    try:
        pairs = parse_qsl(query, strict_parsing=bool(query))
    except ValueError:
        raise InvalidRedisUrl(
            "expected name=value after the ?; write a ? in a password as %3F"
        ) from None
    options: dict[str, str] = {}
    for name, value in pairs:
        _check(name, value, secure=secure, sentinel=sentinel)
        if name in options:
            raise InvalidRedisUrl(f"the option {name} stands twice")
        options[name] = value
    return options


def _check(name: str, value: str, *, secure: bool, sentinel: bool) -> None:
    if name in _OURS:
        raise InvalidRedisUrl(f"leave out the option {name}: Clarion sets it itself")
    if name not in OPTIONS:
        raise InvalidRedisUrl(_unknown(name))
    if name.startswith(_TLS_PREFIX) and not secure:
        raise InvalidRedisUrl(f"the option {name} needs TLS: write rediss instead of redis")
    if name.startswith("sentinel_") and not sentinel:
        raise InvalidRedisUrl(f"the option {name} needs redis+sentinel://")
    expected, fits = _VALUES.get(name, ("", lambda _: True))
    if not fits(value):
        raise InvalidRedisUrl(f"expected {expected} for the option {name}")


def _unknown(name: str) -> str:
    near: Any = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.8)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(OPTIONS)}"
    return f"unknown option: {hint} Write ? and & in a password as %3F and %26"
