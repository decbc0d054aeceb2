"""`clarion events`: every mistake of a catalogue, and what it declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clarion import Clarion


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "events.yaml").write_text(
        "events:\n"
        "  order.updated:\n"
        "    description: An order has a new state.\n"
        "    audiences: [user]\n"
        "    schema: {type: object}\n"
        "    example: {}\n"
        "  old.*: {deprecated: true}\n"
    )
    return tmp_path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_good_catalogue(clarion: Clarion, folder: Path) -> None:
    done = clarion.run("events", "check", str(folder))
    assert done.returncode == 0
    assert lines(done.stdout) == [{"kind": "checked", "events": 2, "problems": 0}]


def test_every_mistake(clarion: Clarion, folder: Path) -> None:
    (folder / "a.json").write_text('{"type": "strin"}')
    (folder / "b.json").write_text('{"$ref": "http://localhost/x"}')
    done = clarion.run("events", "check", str(folder))
    assert done.returncode == 2
    assert [line.get("kind") for line in lines(done.stdout)] == ["problem", "problem", "checked"]
    assert "nothing is fetched" in done.stdout


def test_an_example_that_does_not_fit(clarion: Clarion, folder: Path) -> None:
    (folder / "a.json").write_text('{"type": "object", "examples": [1]}')
    done = clarion.run("events", "check", "--text", str(folder))
    assert done.returncode == 2
    assert "a.json: a: expected a value of type object at /example, got 1" in done.stdout


def test_the_list(clarion: Clarion, folder: Path) -> None:
    done = clarion.run("events", "list", str(folder))
    assert done.returncode == 0
    first, second = lines(done.stdout)
    assert (first["type"], first["audiences"], first["examples"]) == (
        "order.updated",
        ["user"],
        [{}],
    )
    assert (second["type"], second["deprecated"]) == ("old.*", True)
    text = clarion.run("events", "list", "--text", str(folder)).stdout
    assert "order.updated  (to user)  An order has a new state." in text
    assert "old.*  (deprecated; any data)" in text


def test_no_catalogue(clarion: Clarion, tmp_path: Path) -> None:
    assert clarion.run("events", "list").returncode == 2
    assert clarion.run("events", "list", str(tmp_path / "none.yaml")).returncode == 2
