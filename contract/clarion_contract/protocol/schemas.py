"""The JSON Schemas of all messages, read from the files beside this module."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final, Literal

Side = Literal["server", "client"]
_FOLDER: Final = resources.files("clarion_contract.protocol")


def schema(side: Side) -> dict[str, Any]:
    """The schema of the messages that one side sends.

    Example: ``schema("server")["$defs"]["welcome"]``.
    """
    found: dict[str, Any] = json.loads(_FOLDER.joinpath(f"{side}.schema.json").read_text())
    return found
