"""Runs the blocks of a page of the docs as a reader would, against a running `clarion up`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clarion import environment

# A dozen processes start one after the other, each in seconds where the machine is busy.
SECONDS = 200

# Language and text.
Block = tuple[str, str]

_BLOCK = re.compile(
    r"(?P<skipped><!-- not run.*?-->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_NAME = re.compile(r"(?:# |// |<!-- )([\w.]+)")
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
_PROGRAMS = {"clarion": "clarion_cli", "pytest": "pytest", "uvicorn": "uvicorn"}


def blocks(text: str) -> list[Block]:
    """Every block that is run, is a file, or shows the output of a run."""
    return [
        (found["language"], found["text"])
        for found in _BLOCK.finditer(text)
        if not found["skipped"]
    ]


def files(of: Sequence[Block]) -> dict[str, str]:
    """The files among the blocks: each begins with a comment that names it."""
    named = ((_NAME.match(text), text) for language, text in of if language not in {"sh", "text"})
    return {found[1]: text for found, text in named if found}


def addresses(record: Mapping[str, Any]) -> dict[str, str]:
    """The addresses on a page, and the same in the stack of `clarion up` that runs."""
    return {
        "127.0.0.1:8001": record["gateways"][0].removeprefix("http://"),
        "127.0.0.1:8002": record["gateways"][1].removeprefix("http://"),
        "127.0.0.1:8080": record["publisher"].removeprefix("http://"),
    }


def replaced(text: str, own: Mapping[str, str]) -> str:
    """The text with the test's own addresses and paths."""
    for written, address in own.items():
        text = text.replace(written, address)
    return text


def shown(of: Sequence[Block], folder: Path, own: Mapping[str, str]) -> int:
    """Run all commands in one shell, and compare with the outputs that stand below them.

    Returns:
        How many outputs were compared.
    """
    printed = run(_script(of), own, folder).split(f"{_END}\n")
    at = -1
    compared = 0
    for language, text in of:
        if language == "sh":
            at += 1
        elif language == "text":
            assert matches(text, printed[at]), f"the page shows\n{text}\nprinted was\n{printed[at]}"
            compared += 1
    return compared


def _script(of: Sequence[Block]) -> str:
    """Every block of commands, as one script that marks the end of each."""
    script = ""
    for at, (language, text) in enumerate(of):
        if language == "sh":
            following = of[at + 1] if at + 1 < len(of) else ("", "")
            expected = following[1] if following[0] == "text" else "id\nevent\ndata\n"  # a welcome
            lines = sum(map(bool, expected.splitlines()))
            script += f"export LINES_SHOWN={lines}\n{text}\necho {shlex.quote(_END)}\n"
    return script


def run(script: str, own: Mapping[str, str], folder: Path) -> str:
    """The output of a shell that runs a page's commands, with the test's own addresses."""
    completed = subprocess.run(
        ["bash", "-c", replaced(script, own)],
        cwd=folder,
        env=shell_environment(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert completed.stderr == "", completed.stdout + completed.stderr
    return completed.stdout


def shell_environment(folder: Path) -> dict[str, str]:
    """That of a shell in which the commands of Clarion are those of this checkout."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (folder / "curl.py").write_text(_CURL)
    arguments = {
        "python": "",
        "curl": shlex.quote(f"{folder}/curl.py"),
        **{name: f"-m {module}" for name, module in _PROGRAMS.items()},
    }
    for name, words in arguments.items():
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (tools / name).chmod(0o755)
    return environment(PATH=f"{tools}:{os.environ['PATH']}", CURL=curl, no_proxy="127.0.0.1")


def matches(expected: str, printed: str) -> bool:
    """Whether a page shows the output; ``…`` stands for any text within a line."""
    pattern = r"[^\n]+?".join(re.escape(part) for part in expected.strip().split("…"))
    meaningful = re.sub(r"\n*^:$\n*", "\n", printed, flags=re.MULTILINE)  # keep-alives of a stream
    return re.fullmatch(pattern, meaningful.strip()) is not None
