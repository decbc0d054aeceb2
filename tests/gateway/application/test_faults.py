"""`clarion_gateway.application.faults`: the application's errors, at its own lines."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from clarion_gateway.application.answering import answer
from clarion_gateway.application.codec import encode
from clarion_gateway.application.context import Context
from clarion_gateway.application.faults import at_the_applications_line, described, in_one_line
from clarion_gateway.application.handlers import Handlers
from tests.gateway.application.host import context


async def fails_async(message: bytes, context: Context) -> None:
    raise LookupError(message.decode())


def fails_in_a_thread(message: bytes, context: Context) -> None:
    raise LookupError(message.decode())


def without_first_line(error: Exception) -> Exception:
    """The error as the gateway catches it: its first line is the test's own."""
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


@pytest.mark.parametrize("handler", [fails_async, fails_in_a_thread])
async def test_a_handlers_error_begins_at_its_own_line(handler: Callable[..., Any]) -> None:
    handlers = Handlers()
    handlers.on("a")(handler)
    route = handlers.find("a")
    assert route is not None

    with pytest.raises(LookupError) as raised:
        await answer(route, b"no stock", context())

    shown = at_the_applications_line(without_first_line(raised.value))
    assert [frame.name for frame in traceback.extract_tb(shown.__traceback__)] == [handler.__name__]


def test_an_error_without_a_line_of_the_application_keeps_its_traceback() -> None:
    with pytest.raises(TypeError) as raised:
        encode(object())
    error = without_first_line(raised.value)
    before = error.__traceback__
    assert before is not None

    assert at_the_applications_line(error).__traceback__ is before


def test_an_error_is_described_in_one_line_with_its_place() -> None:
    def fails() -> None:
        raise OSError("no\ndatabase")

    try:
        fails()
    except OSError as error:
        line = described(error)
    assert line.startswith("OSError: no database (")
    assert f"{__file__}:" in line
    assert in_one_line(LookupError()) == "LookupError"
