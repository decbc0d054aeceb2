"""Configurations that `clarion check` reads: the environment, a dotenv file, a chart's values.

Each becomes the environment variables of one or both services, as a pod would get them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from clarion_cli.failure import ExitCode, Failure

SERVICES: Final = ("gateway", "publisher")

# In place of a value in a Secret that the values only name.
_UNKNOWN_SECRET: Final = "a secret that only the cluster knows"  # noqa: S105 - none
UNKNOWN_REDIS: Final = "redis://redis-url-in-a-secret.invalid:6379/0"
"""In place of a Redis whose URL or login is in a Secret."""

UNKNOWN_OUTBOX: Final = "postgresql://outbox-url-in-a-secret.invalid/unknown"
"""In place of an outbox whose URL or login is in a Secret."""

Environment = Mapping[str, str]


def of_dotenv(path: Path) -> dict[str, Environment]:
    """The variables of a file of ``NAME=value`` lines.

    Raises:
        Failure: the file cannot be read.
    """
    from dotenv import dotenv_values  # noqa: PLC0415 - slow, rarely asked

    _read(path)
    variables = {name: value or "" for name, value in dotenv_values(path).items()}
    return dict.fromkeys(SERVICES, variables)


def of_values(path: Path) -> dict[str, Environment]:
    """The variables that the chart makes of a file of values, for each service.

    Raises:
        Failure: the file cannot be read, or holds no map.
    """
    import yaml  # noqa: PLC0415 - slow, rarely asked

    try:
        values = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise Failure(f"{path} is not YAML{line}", ExitCode.USAGE) from None
    if not isinstance(values, dict):
        raise Failure(f"expected a map of values in {path}", ExitCode.USAGE)
    return {service: _of_component(values, service) for service in SERVICES}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Failure(f"cannot read {path}: {reason}", ExitCode.USAGE) from None


def _map(values: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = values
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _of_component(values: Mapping[str, Any], service: str) -> Environment:
    settings = {**_map(values, "settings"), **_map(values, service, "settings")}
    made: dict[str, Any] = {
        **settings,
        **_auth(_map(values, service, "auth") or _map(values, "auth")),
        "CLARION_REDIS_URL": _redis(_map(values, "redis")),
        "CLARION_POD": service,
        "CLARION_TOPIC_RULES": _topic_rules(values.get("topicRules")),
    }
    if service == "gateway":
        made["GATEWAY_HANDLERS"] = _map(values, service, "handlers").get("name")
    else:
        made["PUBLISHER_OUTBOX_URL"] = _outbox(_map(values, service, "outbox"))
        made["PUBLISHER_SOCKETIO_REDIS_URL"] = _socketio(_map(values, service, "socketio"))
    return {name: _text(value) for name, value in made.items() if value is not None}


def _auth(auth: Mapping[str, Any]) -> dict[str, Any]:
    secret = auth.get("secret")
    if _map(auth, "existingSecret").get("name"):
        secret = _UNKNOWN_SECRET
    return {
        "CLARION_JWT_SECRET": secret,
        "CLARION_JWT_PUBLIC_KEY": auth.get("publicKey"),
        "CLARION_JWT_JWKS_URL": auth.get("jwksUrl"),
    }


def _topic_rules(rules: object) -> str | None:
    return json.dumps({"topics": rules}) if rules else None


def _redis(redis: Mapping[str, Any]) -> str | None:
    login = _map(redis, "login", "existingSecret").get("name")
    if login or _map(redis, "existingSecret").get("name") or _map(redis, "valkey").get("enabled"):
        return UNKNOWN_REDIS
    return redis.get("url")


def _socketio(socketio: Mapping[str, Any]) -> str | None:
    if _map(socketio, "existingSecret").get("name"):
        return UNKNOWN_REDIS
    return socketio.get("url") or None


def _outbox(outbox: Mapping[str, Any]) -> str | None:
    login = _map(outbox, "login", "existingSecret").get("name")
    if login or _map(outbox, "existingSecret").get("name"):
        return UNKNOWN_OUTBOX
    return outbox.get("url") or None


def _text(value: object) -> str:
    """A value as the chart writes it into the environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@contextmanager
def as_environment(variables: Environment) -> Iterator[None]:
    """Within this context, the process has these variables of Clarion's and no others."""
    before = dict(os.environ)
    kept = {
        name: value
        for name, value in before.items()
        if not name.upper().startswith(("CLARION_", "GATEWAY_", "PUBLISHER_"))
    }
    os.environ.clear()
    os.environ.update({**kept, **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
