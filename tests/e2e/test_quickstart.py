"""A shell runs the commands of the quickstart and of the README's tour against `clarion up`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clarion import ROOT, environment
from tests.e2e.test_up import up

PAGE = ROOT / "docs" / "quickstart.md"

# A dozen processes start one after the other, each in seconds where the machine is busy.
SECONDS = 200
pytestmark = pytest.mark.timeout(SECONDS + 60)

_BLOCK = re.compile(
    r"(?P<skipped><!-- not run.*?-->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_END = "--- end of block ---"

# A reader ends an event stream after a second. The test ends it once it has what the page shows,
# however long that takes on a busy machine.
_CURL = """\
import os, subprocess, sys

arguments = sys.argv[1:]
if "--max-time" in arguments:
    limit = arguments.index("--max-time")
    del arguments[limit : limit + 2]
left = int(os.environ["LINES_SHOWN"])
command = [os.environ["CURL"], "--silent", "--show-error", *arguments]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
    for line in curl.stdout:
        print(line, end="", flush=True)
        left -= bool(line.strip(": \\n"))
        if not left:
            break
    curl.terminate()
"""


def blocks() -> list[tuple[str, str]]:
    """Language and text of every block that is run, or that shows the output of a run."""
    return [
        (found["language"], found["text"])
        for found in _BLOCK.finditer(PAGE.read_text())
        if not found["skipped"]
    ]


def test_every_command_prints_what_the_page_shows(tmp_path: Path) -> None:
    files = {}
    for language, text in blocks():
        if language == "python":
            name = text.partition("\n")[0].removeprefix("# ")
            files[name] = text
            (tmp_path / name).write_text(text)
    with up(tmp_path, gateways=2, GATEWAY_HANDLERS="greet:handlers") as running:
        address = running.record["gateways"][0].removeprefix("http://")
        (tmp_path / "say.py").write_text(files["say.py"].replace("127.0.0.1:8001", address))
        printed = run(commands(), running.record, tmp_path).split(f"{_END}\n")
        running.interrupt()
        assert running.end() == (0, "")

    at = -1
    shown = 0
    for language, text in blocks():
        if language == "sh":
            at += 1
        elif language == "text":
            assert matches(text, printed[at]), f"the page shows\n{text}\nprinted was\n{printed[at]}"
            shown += 1
    assert at >= 7
    assert shown >= 7


def test_the_minutes_tour_of_the_readme_runs(tmp_path: Path) -> None:
    tour = (
        (ROOT / "README.md")
        .read_text()
        .partition("## A minute's tour\n")[2]
        .partition("| command")[0]
    )
    lines = "".join(found["text"] for found in _BLOCK.finditer(tour)).splitlines()
    skipped = (". .venv", "clarion tail")  # an environment of its own; a command that never ends
    script = "\n".join(line for line in lines if not line.startswith(skipped))
    with up(tmp_path, gateways=2) as running:
        printed = run(f"export LINES_SHOWN=3\nset -e\n{script}\n", running.record, tmp_path)
        running.interrupt()
        assert running.end() == (0, "")

    answers = re.findall(r'"duplicate":(true|false)', printed)
    assert answers == ["false", "false", "false", "true", "false"]
    assert "event: $welcome" in printed


def test_what_a_page_shows_is_compared() -> None:
    """The comparison above must not pass because everything matches."""
    assert matches('{"id":"…","n":2}\n', '{"id":"17","n":2}\n')
    assert not matches('{"id":"…","n":2}\n', '{"id":"17","n":3}\n')
    assert not matches("one\n", "one\ntwo\n")


def commands() -> str:
    """Every block of commands, as one script that marks the end of each."""
    found = blocks()
    script = ""
    for at, (language, text) in enumerate(found):
        if language == "sh":
            following = found[at + 1] if at + 1 < len(found) else ("", "")
            shown = following[1] if following[0] == "text" else "id\nevent\ndata\n"  # a welcome
            lines = sum(map(bool, shown.splitlines()))
            script += f"export LINES_SHOWN={lines}\n{text}\necho {shlex.quote(_END)}\n"
    return script


def run(script: str, record: dict[str, Any], folder: Path) -> str:
    """The output of a shell that runs a page's commands, with the test's own addresses."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    tools = folder / "bin"
    tools.mkdir()
    python = shlex.quote(sys.executable)
    (folder / "curl.py").write_text(_CURL)
    for name, arguments in (
        ("clarion", "-m clarion_cli"),
        ("python", ""),
        ("curl", shlex.quote(f"{folder}/curl.py")),
    ):
        (tools / name).write_text(f'#!/bin/sh\nexec {python} {arguments} "$@"\n')
        (tools / name).chmod(0o755)
    own = {
        "http://127.0.0.1:8001": record["gateways"][0],
        "http://127.0.0.1:8002": record["gateways"][1],
        "http://127.0.0.1:8080": record["publisher"],
    }
    for written, address in own.items():
        script = script.replace(written, address)
    completed = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(PATH=f"{tools}:{os.environ['PATH']}", CURL=curl, no_proxy="127.0.0.1"),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert completed.stderr == ""
    return completed.stdout


def matches(shown: str, printed: str) -> bool:
    """Whether a page shows the output; ``…`` stands for any text within a line."""
    pattern = r"[^\n]+?".join(re.escape(part) for part in shown.strip().split("…"))
    meaningful = re.sub(r"\n*^:$\n*", "\n", printed, flags=re.MULTILINE)  # keep-alives of a stream
    return re.fullmatch(pattern, meaningful.strip()) is not None
