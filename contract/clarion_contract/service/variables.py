"""Finds environment variables that look like settings but are none: a misspelt one has no effect.

>>> misspelt({"GATEWAY_MAX_CONECTIONS": "5"}, [GatewaySettings])
[Misspelt(name='GATEWAY_MAX_CONECTIONS', nearest='GATEWAY_MAX_CONNECTIONS')]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Final

from pydantic import AliasChoices

from clarion_contract.service.secret_files import FILE
from clarion_contract.service.secret_settings import holds_secret
from clarion_contract.service.settings import ContractSettings, variable

SHARED_PREFIX: Final = "CLARION"

OF_COMMANDS: Final = frozenset(
    {
        "CLARION_GATEWAY_URL",
        "CLARION_IMAGE",
        "CLARION_PUBLISHER_URL",
        "CLARION_STATE",
        "CLARION_TOKEN",
        "CLARION_VALKEY_IMAGE",
    }
)
"""Variables that the command line, compose.yaml and the chart's test read, but no service."""

# GATEWY for GATEWAY, but not BROADWAY.
_PREFIX_LIKENESS: Final = 0.8
_LIKENESS: Final = 0.75

# The kubelet sets such variables in every pod for each Service of the namespace, as
# GATEWAY_SERVICE_HOST, GATEWAY_PORT and GATEWAY_PORT_8080_TCP_ADDR for one called "gateway":
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK: Final = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)
_SERVICE_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Misspelt:
    """A variable that no service reads.

    Attributes:
        nearest: the setting that was probably meant; None: none is near.
    """

    name: str
    nearest: str | None


def variables(cls: type[ContractSettings]) -> Iterable[str]:
    """The environment variables that set the fields of a class, or name the files of secrets."""
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            yield from (choice for choice in alias.choices if isinstance(choice, str))
        else:
            yield variable(cls, name)
        if holds_secret(field):
            yield variable(cls, name) + FILE


def misspelt(
    environment: Mapping[str, str], classes: Sequence[type[ContractSettings]]
) -> list[Misspelt]:
    """The variables of an environment that look like settings of these classes and are none.

    Variables of other services, and those that Kubernetes sets for Services, are left out.
    """
    known = {name for cls in classes for name in variables(cls)}
    prefixes = {SHARED_PREFIX, *(cls.model_config["env_prefix"].rstrip("_") for cls in classes)}
    found = []
    for given, value in sorted(environment.items()):
        name = given.upper()
        if name in known | OF_COMMANDS or _is_service_link(name, value):
            continue
        if "_" not in name:  # the whole name is a prefix, such as CLARION=/opt/clarion
            continue
        prefix = name.partition("_")[0]
        nearest = _nearest(name, known)
        if prefix in prefixes or (nearest and _is_near(prefix, prefixes - {prefix})):
            found.append(Misspelt(given, nearest))
    return found


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.search(name)) or (
        name.endswith("_PORT") and _SERVICE_LINK_VALUE.match(value) is not None
    )


def _nearest(name: str, known: set[str]) -> str | None:
    rest = name.partition("_")[2]
    same = sorted(each for each in known if each.partition("_")[2] == rest)
    if same:  # with the other prefix
        return same[0]
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=_LIKENESS)), None)


def _is_near(prefix: str, prefixes: set[str]) -> bool:
    return any(SequenceMatcher(None, prefix, each).ratio() >= _PREFIX_LIKENESS for each in prefixes)
