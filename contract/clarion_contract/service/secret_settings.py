"""Settings that hold secrets: which ones they are, and their source for files (``…_FILE``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from clarion_contract.service.secret_files import FILE, read_secret


class _MayHoldSecret:
    """Marks a setting that is no secret by itself, but may hold one, such as a URL."""


MAY_HOLD_SECRET: Final = _MayHoldSecret()
"""Marks a setting: ``Annotated[str, MAY_HOLD_SECRET]``. Those of the type SecretStr need none."""


def holds_secret(field: FieldInfo) -> bool:
    """Whether a setting is or may hold a secret, and so can be in a file."""
    kinds = (field.annotation, *get_args(field.annotation))
    return SecretStr in kinds or MAY_HOLD_SECRET in field.metadata


@dataclass(frozen=True, slots=True)
class BadFile:
    """In place of a value: why there is none."""

    reason: str


class SecretFiles(PydanticBaseSettingsSource):
    """Reads secrets from the files that variables ending in ``_FILE`` name."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self._environment = {name.upper(): value for name, value in os.environ.items()}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret, or a `BadFile`, which a validator refuses with the other bad values."""
        name = field.validation_alias
        if not isinstance(name, str) or not self._environment.get(name + FILE):
            return None, field_name, False
        try:
            return read_secret(name, self._environment), name, False
        except ValueError as error:
            return BadFile(str(error)), name, False

    def __call__(self) -> dict[str, Any]:
        """All secrets that are in files, by the names of their variables."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            if holds_secret(field):
                value, key, _ = self.get_field_value(field, name)
                if value is not None:
                    found[key] = value
        return found
