"""A shell runs the commands of the quickstart and of the README's tour against `clarion up`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.clarion import ROOT
from tests.e2e.pages import SECONDS, addresses, blocks, files, matches, replaced, run, shown
from tests.e2e.test_up import up

PAGE = ROOT / "docs" / "quickstart.md"

pytestmark = pytest.mark.timeout(SECONDS + 60)


def test_every_command_prints_what_the_page_shows(tmp_path: Path) -> None:
    found = blocks(PAGE.read_text())
    (tmp_path / "greet.py").write_text(files(found)["greet.py"])
    with up(tmp_path, gateways=2, GATEWAY_HANDLERS="greet:handlers") as running:
        own = addresses(running.record)
        (tmp_path / "say.py").write_text(replaced(files(found)["say.py"], own))
        assert shown(found, tmp_path, own) >= 7
        running.interrupt()
        assert running.end() == (0, "")


def test_the_minutes_tour_of_the_readme_runs(tmp_path: Path) -> None:
    tour = (
        (ROOT / "README.md")
        .read_text()
        .partition("## A minute's tour\n")[2]
        .partition("| command")[0]
    )
    lines = "".join(text for _, text in blocks(tour)).splitlines()
    skipped = (". .venv", "clarion tail")  # an environment of its own; a command that never ends
    script = "\n".join(line for line in lines if not line.startswith(skipped))
    with up(tmp_path, gateways=2) as running:
        own = addresses(running.record)
        printed = run(f"export LINES_SHOWN=3\nset -e\n{script}\n", own, tmp_path)
        running.interrupt()
        assert running.end() == (0, "")

    answers = re.findall(r'"duplicate":(true|false)', printed)
    assert answers == ["false", "false", "false", "false", "true", "false"]
    assert "event: $welcome" in printed


def test_what_a_page_shows_is_compared() -> None:
    """The comparison above must not pass because everything matches."""
    assert matches('{"id":"…","n":2}\n', '{"id":"17","n":2}\n')
    assert not matches('{"id":"…","n":2}\n', '{"id":"17","n":3}\n')
    assert not matches("one\n", "one\ntwo\n")
