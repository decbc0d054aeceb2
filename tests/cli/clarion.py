"""Runs `clarion` as from a shell: as a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRET = "a secret for tests, 32 bytes or more"


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without anything that steers Clarion, then ``changes``."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CLARION_", "GATEWAY_", "PUBLISHER_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "dumb", "COLUMNS": "100", **changes}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "clarion_cli", *arguments]


@dataclass(frozen=True)
class Clarion:
    """The command, run in ``folder``."""

    folder: Path

    def run(
        self, *arguments: str, stdin: bytes = b"", **changes: str
    ) -> subprocess.CompletedProcess[str]:
        completed = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env=environment(**changes),
            input=stdin,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return subprocess.CompletedProcess(
            completed.args,
            completed.returncode,
            completed.stdout.decode(),
            completed.stderr.decode(),
        )

    def fails(self, *arguments: str, stdin: bytes = b"", **changes: str) -> str:
        """Run a command that must fail: no output on stdout, one line on stderr."""
        completed = self.run(*arguments, stdin=stdin, **changes)
        assert completed.returncode != 0
        assert completed.stdout == ""
        assert completed.stderr.startswith("clarion: ")
        assert completed.stderr.count("\n") == 1, completed.stderr
        return completed.stderr.removeprefix("clarion: ").strip()
