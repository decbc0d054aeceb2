"""Imports an application's handlers as a gateway does that starts in the current folder."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clarion_gateway.application.handlers import Handlers


def load_handlers(path: str) -> Handlers:
    """The handlers that ``package.module:name`` names.

    The gateway runs by ``python -m``, which looks into the current folder. The command `clarion`
    does not look there by itself.

    Raises:
        ValueError: as `clarion_gateway.application.loading.load` does.
    """
    from clarion_gateway.application.loading import load  # noqa: PLC0415 - slow, rarely needed

    folder = os.getcwd()  # noqa: PTH109 - an entry of sys.path is a string
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return load(path)
