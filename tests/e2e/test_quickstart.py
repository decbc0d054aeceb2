"""The quickstart does what it says: its commands run in one shell, against a real `clarion up`."""

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
limit = arguments.index("--max-time")
del arguments[limit : limit + 2]
left = int(os.environ["LINES_SHOWN"])
with subprocess.Popen([os.environ["CURL"], *arguments], stdout=subprocess.PIPE, text=True) as curl:
    for line in curl.stdout:
        print(line, end="", flush=True)
        left -= bool(line.strip(": \\n"))
        if not left:
            break
    curl.terminate()
"""


def blocks() -> list[tuple[str, str]]:
    """Language and text of every block that is run, or that shows what a run prints."""
    return [
        (found["language"], found["text"])
        for found in _BLOCK.finditer(PAGE.read_text())
        if not found["skipped"]
    ]


def test_every_command_prints_what_the_page_shows(tmp_path: Path) -> None:
    for language, text in blocks():
        if language == "python":
            name = text.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(text)
    with up(tmp_path, gateways=2, GATEWAY_HANDLERS="greet:handlers") as running:
        printed = run(running.record, tmp_path)
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


def test_what_a_page_shows_is_compared() -> None:
    """The comparison above is not green because everything matches."""
    assert matches('{"id":"…","n":2}\n', '{"id":"17","n":2}\n')
    assert not matches('{"id":"…","n":2}\n', '{"id":"17","n":3}\n')
    assert not matches("one\n", "one\ntwo\n")


def commands() -> str:
    """Every block of commands, as one script that marks where each ends."""
    found = blocks()
    script = ""
    for at, (language, text) in enumerate(found):
        if language == "sh":
            following = found[at + 1] if at + 1 < len(found) else ("", "")
            shown = following[1] if following[0] == "text" else "id\nevent\ndata\n"  # a welcome
            lines = sum(map(bool, shown.splitlines()))
            script += f"export LINES_SHOWN={lines}\n{text}\necho {shlex.quote(_END)}\n"
    return script


def run(record: dict[str, Any], folder: Path) -> list[str]:
    """What each block printed, all of them run by one shell, as a reader would."""
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
    }
    script = commands()
    client = folder / "say.py"
    client.write_text(
        client.read_text().replace("127.0.0.1:8001", record["gateways"][0].partition("//")[2])
    )
    for written, address in own.items():
        script = script.replace(written, address)
    completed = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(PATH=f"{tools}:{os.environ['PATH']}", CURL=curl, no_proxy="127.0.0.1"),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert completed.stderr == ""
    return completed.stdout.split(f"{_END}\n")


def matches(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed, where ``…`` stands for anything within a line."""
    pattern = r"[^\n]+?".join(re.escape(part) for part in shown.strip().split("…"))
    meaningful = re.sub(r"\n*^:$\n*", "\n", printed, flags=re.MULTILINE)  # keep-alives of a stream
    return re.fullmatch(pattern, meaningful.strip()) is not None
