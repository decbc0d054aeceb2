"""Imports the application's handlers at the start of a gateway."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from clarion_gateway.application.faults import described, in_one_line, place_of_import
from clarion_gateway.application.handlers import Handlers


def load(path: str) -> Handlers:
    """Import the handlers that ``package.module:name`` names.

    The name may also be that of a function without arguments that makes and returns them.

    Raises:
        ValueError: the module cannot be imported, it has no `Handlers` of that name, or the
            function fails. The text is one line.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"cannot import GATEWAY_HANDLERS={path}: {in_one_line(error)}{place_of_import(error)}; "
            f"`python -c 'import {module_name}'` shows the traceback"
        ) from error
    found = getattr(module, name, None)
    if _is_factory(found):
        return _made(path, found)
    if not isinstance(found, Handlers):
        got = type(found).__name__ if hasattr(module, name) else "nothing of that name"
        raise ValueError(
            f"expected GATEWAY_HANDLERS={path} to name a clarion.Handlers object, or a function "
            f"without arguments that returns one, got {got} in {module.__file__ or module_name}"
        )
    return found


def _is_factory(found: object) -> bool:
    if not inspect.isroutine(found) or inspect.iscoroutinefunction(found):
        return False
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError):  # it needs arguments, or is built in
        return False
    return True


def _made(path: str, factory: Any) -> Handlers:  # noqa: ANN401
    try:
        made = factory()
    except Exception as error:
        raise ValueError(f"GATEWAY_HANDLERS={path} failed: {described(error)}") from error
    if not isinstance(made, Handlers):
        raise ValueError(
            f"expected GATEWAY_HANDLERS={path} to return a clarion.Handlers object, got "
            f"{type(made).__name__}"
        )
    return made
