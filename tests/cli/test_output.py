"""Text on a terminal, JSON lines elsewhere; errors are one line."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.text import Text

from clarion_cli.output import Output, print_error
from tests.cli.clarion import environment

PROGRAM = """
from rich.text import Text
from clarion_cli.output import Output
Output(%s).result({"id": "17"}, Text("published 17"))
"""

SPINNING = """
import time
from rich.text import Text
from clarion_cli.output import Output
output = Output()
with output.progress("starting"):
    for number in (1, 2):
        time.sleep(0.2)
        output.result({}, Text(f"ready {number}"))
"""


def on_terminal(program: str, **changes: str) -> str:
    """The bytes that a terminal gets."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=environment(**changes)
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux: EIO at the end
            while chunk := os.read(ours, 1_000):
                shown += chunk
        os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def visible(sent: str) -> list[str]:
    """The lines that stay on the screen, without those erased or drawn over."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r\n|\r|[^\x1b\r]+", sent):
        if part == "\r\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith(("\x1b", "\r")):
            lines[row] += part
    return [line for line in lines if line]


def test_a_pipe_gets_a_line_of_json(capfd: pytest.CaptureFixture[str]) -> None:
    Output().result({"id": "17", "text": "a\nb"}, Text("published 17"))
    out, err = capfd.readouterr()
    assert json.loads(out) == {"id": "17", "text": "a\nb"}
    assert out.count("\n") == 1
    assert err == ""


def test_a_terminal_gets_text() -> None:
    assert on_terminal(PROGRAM % None).strip() == "published 17"


def test_json_may_be_asked_for_on_a_terminal() -> None:
    assert on_terminal(PROGRAM % True).strip() == '{"id":"17"}'


def test_text_may_be_asked_for_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    output = Output(json=False)
    with output.progress("starting"):
        output.result({"id": "17"}, Text("published 17"))
    assert capfd.readouterr() == ("starting …\npublished 17\n", "")


def test_programs_hear_what_is_under_way(capfd: pytest.CaptureFixture[str]) -> None:
    with Output().progress("starting"):
        pass
    assert capfd.readouterr() == ('{"kind":"starting"}\n', "")


def test_the_spinner_leaves_nothing_in_the_lines_of_results() -> None:
    sent = on_terminal(SPINNING, TERM="xterm")
    assert sent.count("starting …") > 2
    assert visible(sent) == ["ready 1", "ready 2"]


def test_an_error_is_one_line_whatever_it_holds(capfd: pytest.CaptureFixture[str]) -> None:
    print_error("no answer:\n  [red]Connection refused[/red]\r\n" + "x" * 300)
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "clarion: no answer: [red]Connection refused[/red] " + "x" * 300 + "\n"
