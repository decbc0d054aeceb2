"""Runs `tests.e2e.witness` beside a stack, and hands back its report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cli.clarion import SECRET
from tests.cli.clarion import environment as clean_environment
from tests.e2e import witness
from tests.e2e.stack import Stack
from tests.e2e.witness import PATIENCE_SECONDS, Report


@dataclass
class Watch:
    """One run; `report` is there when the context has ended."""

    report: Report | None = None

    @property
    def seen(self) -> Report:
        assert self.report is not None, "the witness still counts"
        return self.report


@contextmanager
def watched(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Watch]:
    """The witness counts while the body of the ``with`` does its worst.

    Args:
        command: starts the witness, wherever it is; its standard input stays open until the end.
    """
    watch = Watch()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n", "the witness did not get going"
            yield watch
        except BaseException:
            process.kill()
            raise
        output, _ = process.communicate(timeout=PATIENCE_SECONDS + 30)
    assert process.returncode == 0, output
    watch.report = Report(**json.loads(output.splitlines()[-1]))


@contextmanager
def beside(stack: Stack, *options: str) -> Iterator[Watch]:
    """The witness watches a stack of local processes."""
    gateways = [part for one in stack.gateways for part in ("--gateway", one.url)]
    publisher = ("--publisher", stack.publisher.url)
    command = [sys.executable, witness.__file__, *gateways, *publisher, *options]
    with watched(command, clean_environment(CLARION_JWT_SECRET=SECRET)) as watch:
        yield watch
