"""The functions of an application that run when a client connects, subscribes, or has gone."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from clarion_gateway.application.context import (
    ConnectContext,
    DisconnectContext,
    SubscribeContext,
)
from clarion_gateway.application.scope import HasState

Call = TypeVar("Call", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Hook(Generic[Call]):
    """A function of the application, and its scope.

    Attributes:
        headers: names in lower case of the client's headers that it sees.
        pattern: of the topics that it decides about.
    """

    call: Call
    scope: HasState
    headers: frozenset[str] = frozenset()
    pattern: str = ""

    def within(self, scope: HasState) -> Hook[Call]:
        """The same hook in another scope."""
        return replace(self, scope=scope)


ConnectHook = Hook[Callable[[ConnectContext], Awaitable[Any]]]
DisconnectHook = Hook[Callable[[DisconnectContext], Awaitable[Any]]]
SubscribeHook = Hook[Callable[[SubscribeContext], Awaitable[bool | None]]]


def check_hook(function: Callable[..., Any]) -> None:
    """Return if a function takes one argument.

    Raises:
        ValueError: it takes another number of arguments.
    """
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 1:
        raise ValueError(f"expected a function of (context), got {parameters}")


def header_names(names: Iterable[str]) -> frozenset[str]:
    """Names of headers in lower case.

    Raises:
        TypeError: one text stands in the place of several names.
    """
    if isinstance(names, str):
        raise TypeError(f"expected names of headers, such as [{names!r}], got one text")
    return frozenset(name.lower() for name in names)
