"""`clarion_gateway.application.scope`: what an application opens at the start, and closes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clarion_gateway.application.scope import LifespanFailed, Scope, lifespan_of, living

notes: list[str] = []


@pytest.fixture(autouse=True)
def _forget_notes() -> None:
    notes.clear()


async def pool() -> AsyncIterator[str]:
    notes.append("pool opens")
    yield "pool"
    notes.append("pool closes")


@contextlib.asynccontextmanager
async def cache() -> AsyncIterator[str]:
    notes.append("cache opens")
    try:
        yield "cache"
    finally:
        notes.append("cache closes")


async def broken() -> AsyncIterator[None]:
    raise OSError("no\ndatabase")
    yield


async def hanging() -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


async def ends_badly() -> AsyncIterator[None]:
    yield
    raise OSError("still in use")


async def never_ends() -> AsyncIterator[None]:
    yield
    await asyncio.Event().wait()


def scopes(*functions: Any) -> list[Scope]:
    found = []
    for function in functions:
        scope = Scope()
        scope.lifespan = lifespan_of(function)
        found.append(scope)
    return found


async def test_lifespans_begin_in_order_and_end_in_reverse() -> None:
    first, second = scopes(pool, cache)
    async with living([first, Scope(), second], failed_to_end=notes.append):
        assert (first.state, second.state) == ("pool", "cache")
        assert notes == ["pool opens", "cache opens"]
    assert notes[2:] == ["cache closes", "pool closes"]
    assert (first.state, second.state) == (None, None)


async def test_a_lifespan_that_fails_is_one_line_and_those_before_it_end() -> None:
    with pytest.raises(LifespanFailed) as failed:
        async with living(scopes(pool, broken, cache), failed_to_end=notes.append):
            pytest.fail("the gateway must not start")
    line = str(failed.value)
    assert line.startswith("the lifespan broken failed: OSError: no database (")
    assert f"{__file__}:" in line
    assert notes == ["pool opens", "pool closes"]


async def test_a_lifespan_has_limited_time_to_begin() -> None:
    with pytest.raises(LifespanFailed, match=r"hanging failed: it did not begin within 0\.01 sec"):
        async with living(scopes(hanging), limit_seconds=0.01, failed_to_end=notes.append):
            pytest.fail("the gateway must not start")


async def test_a_lifespan_that_fails_at_its_end_keeps_no_other_from_ending() -> None:
    failures: list[str] = []
    async with living(
        scopes(pool, ends_badly, never_ends), limit_seconds=0.01, failed_to_end=failures.append
    ):
        pass
    assert [line.partition(" (")[0] for line in failures] == [
        "the lifespan never_ends failed at its end: it did not end within 0.01 seconds",
        "the lifespan ends_badly failed at its end: OSError: still in use",
    ]
    assert notes == ["pool opens", "pool closes"]


async def test_a_lifespan_ends_as_usual_when_the_gateway_fails() -> None:
    with pytest.raises(ZeroDivisionError):
        async with living(scopes(pool, cache), failed_to_end=notes.append):
            raise ZeroDivisionError
    assert notes[2:] == ["cache closes", "pool closes"]


async def coroutine() -> None: ...


def generator() -> Any:
    yield


async def with_argument(app: object) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (coroutine, "the lifespan coroutine to be an async generator function"),
        (generator, "the lifespan generator to be an async generator function"),
        (with_argument, r"with_argument to take no arguments, got \['app'\]"),
    ],
)
def test_what_is_no_lifespan_is_refused_at_import(function: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        lifespan_of(function)


async def test_what_returns_no_context_manager_fails_at_the_start() -> None:
    def returns_a_text() -> Any:
        return "pool"

    with pytest.raises(LifespanFailed, match="an async context manager, got str"):
        async with living(scopes(returns_a_text), failed_to_end=notes.append):
            pytest.fail("the gateway must not start")
