"""`clarion_gateway.application.loading`: finding handlers, and the lines where they fail."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clarion_gateway.application.handlers import Context, Handlers, answer, encode
from clarion_gateway.application.loading import at_the_applications_line, load
from tests.gateway.application.test_handlers import context


def test_handlers_are_loaded_by_their_path() -> None:
    assert "chat.message" in load("clarion_examples.chat.handlers:handlers").types


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("no.such.module:handlers", "No module named"),
        ("clarion_examples.chat.handlers:nothing", "nothing of that name in .*chat/handlers.py"),
        (
            "clarion_gateway.application.handlers:encode",
            r"a clarion\.Handlers object, got function",
        ),
    ],
)
def test_a_wrong_path_says_what_was_found_instead(path: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        load(path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "def f():\n    raise OSError('no database')\nf()\n",
            r"OSError: no database \(.*failing\.py:2\)",
        ),
        ("import no_such_library\n", r"No module named 'no_such_library' \(.*failing\.py:1\)"),
        ("def f(:\n", r"SyntaxError: invalid syntax \(failing\.py, line 1\)"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: str
) -> None:
    (tmp_path / "failing.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=expected):
        load("failing:handlers")


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
