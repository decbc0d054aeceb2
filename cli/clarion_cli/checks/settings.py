"""Settings: what a service would refuse at its start, and what is doubtful.

The services' own classes decide what is wrong, so that a new setting needs no line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from clarion_cli.application import load_handlers
from clarion_cli.checks.configuration import Environment, as_environment
from clarion_cli.checks.finding import Finding, doubtful, wrong
from clarion_contract.identity.tokens import verifier_of
from clarion_contract.redis.url_parts import split_url
from clarion_contract.service import descriptors
from clarion_contract.service.secret_files import FILE
from clarion_contract.service.settings import ContractSettings, InvalidSettings, load, variable
from clarion_contract.service.variables import misspelt, variables
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings

CLASSES: Final[Mapping[str, type[ContractSettings]]] = {
    "gateway": GatewaySettings,
    "publisher": PublisherSettings,
}
_LOCAL: Final = ("localhost", "127.0.0.1", "::1", "[::1]")
_PORT: Final = re.compile(r":[0-9]*$")
# A proxy ends a silent connection after a minute, unless it is told otherwise.
_PROXY_SECONDS: Final = 60
# Fewer different characters are no random secret.
_SECRET_CHARACTERS_MIN: Final = 10
_SECRET: Final = "CLARION_JWT_SECRET"  # noqa: S105 - a name
_KEY_SOURCES: Final = (_SECRET, "CLARION_JWT_PUBLIC_KEY", "CLARION_JWT_JWKS_URL")
# In place of bad keys, to see what else is wrong.
_ANY_SECRET: Final = "in place of a secret that is not good enough"  # noqa: S105
_SHARED: Final = (
    "redis_url", "namespace", "history_max_events", "history_max_age_seconds",
    "idempotency_seconds", "token_max_seconds", "orders_max",
)  # fmt: skip


def check_variables(environment: Environment, services: tuple[str, ...]) -> Iterator[Finding]:
    """Variables that look like settings and are none."""
    for each in misspelt(environment, [CLASSES[service] for service in services]):
        meant = f"; did you mean {each.nearest}?" if each.nearest else ""
        yield doubtful(each.name, f"no setting; it has no effect{meant}", *services)


def load_settings(
    service: str, environment: Environment
) -> tuple[ContractSettings | None, list[Finding]]:
    """The settings of a service, or None, and everything that the service would refuse.

    Bad variables are left out one after the other, since some rules are only checked when each
    variable by itself is good.
    """
    cls = CLASSES[service]
    found: list[Finding] = []
    left = {name.upper(): value for name, value in environment.items()}
    while True:
        problems, settings = _try(cls, left)
        if not problems:
            return (None if found else settings), found
        before = len(left), left.get(_SECRET)
        for problem in problems:
            name = _name(problem, cls)
            message = problem.removeprefix(f"{name}: ")
            if not any(each.about in problem and each.about != name for each in found):
                found.append(wrong(name or "settings", message, service))
            left = _without(left, [name or ""])
        given = {name.removesuffix(FILE) for name, value in left.items() if value}
        if given.isdisjoint(_KEY_SOURCES) or all(map(_is_of_all, problems)):
            left = _without(left, _KEY_SOURCES)
            left[_SECRET] = _ANY_SECRET
        if before == (len(left), left.get(_SECRET)):
            return None, found


def _without(environment: Environment, names: Sequence[str]) -> dict[str, str]:
    """An environment without some settings and the files of their secrets."""
    return {
        name: value for name, value in environment.items() if name.removesuffix(FILE) not in names
    }


def _try(
    cls: type[ContractSettings], environment: Environment
) -> tuple[list[str], ContractSettings | None]:
    with as_environment(environment):
        try:
            settings = load(cls)
            verifier_of(settings)
        except InvalidSettings as error:
            return error.problems, None
    return [], settings


def _is_of_all(problem: str) -> bool:
    """Whether a problem is that of all sources of keys together."""
    return all(name in problem for name in _KEY_SOURCES)


def _name(problem: str, cls: type[ContractSettings]) -> str | None:
    """The one variable that a problem names."""
    named = set(re.findall(r"[A-Z_]{4,}", problem)) & set(variables(cls))
    begins = problem.partition(":")[0]
    return begins if begins in named else named.pop() if len(named) == 1 else None


def doubts(service: str, settings: ContractSettings, *, here: bool) -> Iterator[Finding]:
    """Report settings that a service accepts, but that are probably mistakes.

    Args:
        here: the service would run on this machine, in this environment.
    """
    for check in (_tokens, _origins, _ports, _redis):
        yield from check(service, settings)
    if isinstance(settings, GatewaySettings) and settings.ping_interval_seconds >= _PROXY_SECONDS:
        message = f"proxies often end connections that are silent for {_PROXY_SECONDS} s"
        yield doubtful("GATEWAY_PING_INTERVAL_SECONDS", message, service)
    if settings.profile == "dev":
        message = "`dev` gives tokens for any user to anybody that reaches the gateway's page"
        yield doubtful("CLARION_PROFILE", message, service)
    if here:
        yield from _descriptors(service, settings)


def _tokens(service: str, settings: ContractSettings) -> Iterator[Finding]:
    secret = settings.jwt_secret
    if secret and len(set(secret.get_secret_value())) < _SECRET_CHARACTERS_MIN:
        message = "a secret of so few different characters can be guessed; openssl rand -hex 32"
        yield doubtful("CLARION_JWT_SECRET", message, service)
    url = urlsplit(settings.jwt_jwks_url or "")
    if url.scheme == "http" and url.hostname not in _LOCAL:
        message = "anybody on the way can replace keys that come without TLS; use https"
        yield doubtful("CLARION_JWT_JWKS_URL", message, service)


def _origins(service: str, settings: ContractSettings) -> Iterator[Finding]:
    name = f"{service.upper()}_ALLOWED_ORIGINS"
    origins = getattr(settings, "allowed_origins", ())
    if "*" in origins:
        yield doubtful(name, "`*` lets pages of any site connect", service)
    if service == "publisher" and origins and settings.profile != "dev":
        yield doubtful(name, "a page that publishes holds a token with publish scopes", service)


def _ports(service: str, settings: ContractSettings) -> Iterator[Finding]:
    port = getattr(settings, "port", None)
    if port and port == getattr(settings, "internal_port", None):
        name = f"{service.upper()}_INTERNAL_PORT"
        yield wrong(name, f"both ports are {port}; the internal one must be another", service)


def _redis(service: str, settings: ContractSettings) -> Iterator[Finding]:
    parts = split_url(settings.redis_url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    names = {_PORT.sub("", host) for host in hosts}
    if not names.isdisjoint(_LOCAL) and settings.profile != "dev":
        message = "it names this machine, which in a container is the container itself"
        yield doubtful("CLARION_REDIS_URL", message, service)


def _descriptors(service: str, settings: ContractSettings) -> Iterator[Finding]:
    name = "GATEWAY_MAX_CONNECTIONS" if service == "gateway" else "PUBLISHER_MAX_SOCKETS"
    sockets: int = getattr(settings, "max_sockets", 0)
    needed = descriptors.needed_for(sockets)
    allowed = descriptors.hard_limit()
    if needed > allowed:
        message = f"it needs {needed} open files, and this machine allows {allowed} (ulimit -Hn)"
        yield doubtful(name, f"{message}; the service would lower it", service)


def differences(settings: Mapping[str, ContractSettings]) -> Iterator[Finding]:
    """Shared settings on which the two services must agree."""
    gateway, publisher = settings.get("gateway"), settings.get("publisher")
    if gateway is None or publisher is None:
        return
    for field in _SHARED:
        if getattr(gateway, field) != getattr(publisher, field):
            yield wrong(
                variable(type(gateway), field),
                "gateway and publisher must have the same",
                *settings,
            )
    if gateway.rules != publisher.rules:
        yield wrong("CLARION_TOPIC_RULES", "gateway and publisher must have the same", *settings)
    largest = getattr(publisher, "data_max_bytes", 0)
    unsent = getattr(gateway, "max_unsent_bytes", largest + 1)
    if unsent <= largest:
        message = f"it must be more than the largest event, PUBLISHER_DATA_MAX_BYTES ({largest})"
        yield wrong("GATEWAY_MAX_UNSENT_BYTES", message, "gateway")


def check_handlers(settings: ContractSettings) -> Iterator[Finding]:
    """Whether the application's handlers can be imported."""
    path = getattr(settings, "handlers", None)
    if path is None:
        return
    try:
        load_handlers(path)
    except ValueError as error:
        message = str(error).removeprefix("cannot import GATEWAY_HANDLERS=")
        yield wrong("GATEWAY_HANDLERS", message, "gateway")
