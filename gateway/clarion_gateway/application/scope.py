"""The life of an application inside a gateway process: what it opens at the start.

A `Handlers` object has a `Scope`. Its lifespan is an async context manager that is entered before
the gateway takes clients and left after the drain. Its value is ``context.state``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from clarion_gateway.application.faults import described

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
LifespanFunction = Callable[[], AbstractAsyncContextManager[Any] | AsyncIterator[Any]]
"""Returns an async context manager, or is an async generator function with one ``yield``."""


class LifespanFailed(Exception):
    """A lifespan could not begin; the text is one line for the operator."""


class HasState(Protocol):
    """The place at which a handler finds ``context.state``."""

    @property
    def lives(self) -> bool:
        """Whether there is a lifespan."""
        ...

    @property
    def state(self) -> Any:  # noqa: ANN401 - the application's own
        """The value of the lifespan; None until it has begun."""
        ...


class Scope:
    """The lifespan of one `Handlers` object, and its value.

    Attributes:
        lifespan: opens what the handlers need; None: they need nothing.
        value: what the lifespan gave; None until it has begun.

    Args:
        outer: counts where there is no lifespan of its own; None: nothing does.
    """

    __slots__ = ("_outer", "lifespan", "value")

    def __init__(self, outer: HasState | None = None) -> None:
        self.lifespan: Lifespan | None = None
        self.value: Any = None
        self._outer = outer

    @property
    def lives(self) -> bool:
        """See `HasState`."""
        return self.lifespan is not None or (self._outer is not None and self._outer.lives)

    @property
    def state(self) -> Any:  # noqa: ANN401
        """See `HasState`."""
        if self.lifespan is None and self._outer is not None:
            return self._outer.state
        return self.value


@dataclass(frozen=True, slots=True)
class Inside:
    """The scope of included handlers: their own lifespan counts, or else the outer one."""

    inner: HasState
    outer: HasState

    @property
    def lives(self) -> bool:
        """See `HasState`."""
        return self.inner.lives or self.outer.lives

    @property
    def state(self) -> Any:  # noqa: ANN401
        """See `HasState`."""
        return self.inner.state if self.inner.lives else self.outer.state


def lifespan_of(function: LifespanFunction) -> Lifespan:
    """A lifespan, as a function that returns an async context manager.

    Raises:
        ValueError: the function takes arguments, or returns something else.
    """
    name = getattr(function, "__name__", repr(function))
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError(
            f"expected the lifespan {name} to be an async generator function with one yield, or to "
            "return an async context manager"
        )
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if required:
        raise ValueError(f"expected the lifespan {name} to take no arguments, got {required}")
    if inspect.isasyncgenfunction(function):
        return contextlib.asynccontextmanager(function)
    return function  # type: ignore[return-value]  # checked above, as far as it can be


@contextlib.asynccontextmanager
async def living(
    scopes: Iterable[Scope],
    *,
    limit_seconds: float | None = None,
    failed_to_end: Callable[[str], object],
) -> AsyncIterator[None]:
    """Enter all lifespans, in order, and leave them in reverse.

    Args:
        limit_seconds: how long one lifespan may take to begin, and to end; None: for ever.
        failed_to_end: is told of each lifespan that fails at its end; the others end all the same.

    Raises:
        LifespanFailed: a lifespan failed at its start, or took too long. Those before it have
            ended.
    """
    async with AsyncExitStack() as stack:
        for scope in scopes:
            if scope.lifespan is None:
                continue
            name = getattr(scope.lifespan, "__qualname__", repr(scope.lifespan))
            manager = await _begin(scope, name, scope.lifespan, limit_seconds)
            stack.push_async_callback(_end, scope, name, manager, limit_seconds, failed_to_end)
        yield


async def _begin(
    scope: Scope, name: str, lifespan: Lifespan, limit_seconds: float | None
) -> AbstractAsyncContextManager[Any]:
    try:
        async with asyncio.timeout(limit_seconds) as limit:
            manager = _manager(lifespan())
            scope.value = await manager.__aenter__()
    except Exception as error:
        why = described(error)
        if isinstance(error, TimeoutError) and limit.expired():
            why = f"it did not begin within {limit_seconds:g} seconds"
        raise LifespanFailed(f"the lifespan {name} failed: {why}") from error
    return manager


def _manager(made: object) -> AbstractAsyncContextManager[Any]:
    if not isinstance(made, AbstractAsyncContextManager):
        raise TypeError(f"expected an async context manager, got {type(made).__name__}")
    return made


async def _end(
    scope: Scope,
    name: str,
    manager: AbstractAsyncContextManager[Any],
    limit_seconds: float | None,
    failed: Callable[[str], object],
) -> None:
    try:
        async with asyncio.timeout(limit_seconds) as limit:
            await manager.__aexit__(None, None, None)
    except Exception as error:  # noqa: BLE001 - the other lifespans must end too
        why = described(error)
        if isinstance(error, TimeoutError) and limit.expired():
            why = f"it did not end within {limit_seconds:g} seconds"
        failed(f"the lifespan {name} failed at its end: {why}")
    finally:
        scope.value = None
