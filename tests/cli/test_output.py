"""Text on a terminal, JSON lines elsewhere; errors are one line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from rich.text import Text

from clarion_cli.output import print_error, print_result
from tests.cli.clarion import environment

PROGRAM = """
from rich.text import Text
from clarion_cli.output import print_result
print_result({"id": "17"}, Text("published 17"))
"""


def test_a_pipe_gets_a_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    print_result({"id": "17", "text": "a\nb"}, Text("published 17"))
    out, err = capfd.readouterr()
    assert json.loads(out) == {"id": "17", "text": "a\nb"}
    assert out.count("\n") == 1
    assert err == ""


def test_a_terminal_gets_text() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=theirs, env=environment()
    ) as process:
        os.close(theirs)
        shown = os.read(ours, 1_000).decode()
        os.close(ours)
    assert process.returncode == 0
    assert shown.strip() == "published 17"


def test_an_error_is_one_line_whatever_it_holds(capfd: pytest.CaptureFixture[str]) -> None:
    print_error("no answer:\n  [red]Connection refused[/red]\r\n" + "x" * 300)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "clarion: no answer: [red]Connection refused[/red] " + "x" * 300 + "\n"
