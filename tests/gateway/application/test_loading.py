"""`clarion_gateway.application.loading`: finding an application's handlers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clarion_gateway.application.loading import load


def test_handlers_are_loaded_by_their_path() -> None:
    assert "chat.message" in load("clarion_examples.chat.handlers:handlers").types


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("no.such.module:handlers", "No module named"),
        ("clarion_examples.chat.handlers:nothing", "nothing of that name in .*chat/handlers.py"),
        (
            "clarion_gateway.application.codec:encode",
            r"a clarion\.Handlers object, or .* got function",
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


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        name = f"written_{len(list(tmp_path.iterdir()))}_{abs(hash(source))}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_a_factory_makes_the_handlers(module: Callable[[str], str]) -> None:
    name = module(
        "from clarion import Handlers\n"
        "def create(greeting='hi'):\n"
        "    handlers = Handlers()\n"
        "    handlers.on(greeting)(lambda message, context: None)\n"
        "    return handlers\n"
    )
    assert load(f"{name}:create").types == ("hi",)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def create():\n    return 7\n", r"to return a clarion\.Handlers object, got int"),
        (
            "def create():\n    raise OSError('no\\ndatabase')\n",
            r"failed: OSError: no database \(.*\.py:2\)$",
        ),
        ("async def create(): ...\n", "without arguments that returns one, got function"),
        ("def create(needed): ...\n", "without arguments that returns one, got function"),
        ("from clarion import Handlers as create\n", "without arguments .*, got type"),
        ("import sys\nsys.exit('bye')\n", r"SystemExit: bye \(.*\.py:2\)"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two lines"),
    ],
)
def test_what_makes_no_handlers_is_one_clear_line(
    module: Callable[[str], str], source: str, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected) as raised:
        load(f"{module(source)}:create")
    assert "\n" not in str(raised.value)
