"""A service's settings as it may show them to its operators: without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from clarion_contract.service.settings import ContractSettings, variable

HIDDEN: Final = "***"
# A login in a URL, and a password in its query.
_LOGIN: Final = re.compile(r"(?<=://)[^/?#]*@")
_PASSWORD: Final = re.compile(r"(?i)([\w-]*(?:password|secret|token|username)[\w-]*=)[^&#]*")


def described(service: str, settings: ContractSettings) -> Mapping[str, object]:
    """The answer of ``/settings`` on the internal port.

    >>> described("gateway", settings)["settings"]["CLARION_REDIS_URL"]
    {'value': 'redis://***@redis:6379/0', 'default': False}
    """
    return {
        "service": service,
        "version": metadata.version("clarion"),
        "pod": settings.pod,
        "settings": {
            variable(type(settings), name): {
                "value": _shown(getattr(settings, name)),
                "default": _is_default(settings, name),
            }
            for name in type(settings).model_fields
        },
    }


def _shown(value: Any) -> Any:  # noqa: ANN401 - any setting
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, str) and "://" in value:
        return _PASSWORD.sub(rf"\g<1>{HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", value))
    if isinstance(value, (tuple, list)):
        return [_shown(each) for each in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def _is_default(settings: ContractSettings, name: str) -> bool:
    field = type(settings).model_fields[name]
    if field.default is PydanticUndefined:
        return name not in settings.model_fields_set
    return bool(getattr(settings, name) == field.default)
