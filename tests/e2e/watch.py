"""Runs `tests.e2e.witness` next to a stack, and returns its report."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cli.clarion import SECRET
from tests.cli.clarion import environment as clean_environment
from tests.e2e import witness
from tests.e2e.stack import Stack
from tests.e2e.witness import PATIENCE_SECONDS, PROGRESS, Report


@dataclass
class Watch:
    """One run; `report` is there when the context has ended.

    Attributes:
        published: events that were accepted so far.
        refused: attempts that failed so far, and are repeated.
    """

    report: Report | None = None
    published: int = 0
    refused: int = 0
    _progress: threading.Condition = field(default_factory=threading.Condition)

    @property
    def seen(self) -> Report:
        assert self.report is not None, "the witness still counts"
        return self.report

    def wait(self, *, published: int = 0, refused: int = 0) -> None:
        """Return when this many more events were accepted, and this many more attempts refused."""
        with self._progress:
            wanted = self.published + published, self.refused + refused
            assert self._progress.wait_for(
                lambda: self.published >= wanted[0] and self.refused >= wanted[1],
                PATIENCE_SECONDS,
            ), f"expected {wanted} accepted and refused, got {self.published, self.refused}"

    def read(self, lines: Iterable[str]) -> None:
        """Read the witness's output up to its report."""
        for line in lines:
            first, *counts = line.split()
            if first != PROGRESS:
                self.report = Report(**json.loads(line))
                continue
            with self._progress:
                self.published, self.refused = map(int, counts)
                self._progress.notify_all()


@contextmanager
def watched(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[Watch]:
    """The witness counts while the body of the ``with`` disturbs the stack.

    Args:
        command: starts the witness, wherever it is; its standard input stays open until the end.
    """
    watch = Watch()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin
        assert process.stdout
        reading = threading.Thread(target=watch.read, args=[process.stdout])
        try:
            assert process.stdout.readline() == "ready\n", "the witness did not get going"
            reading.start()
            yield watch
            process.stdin.close()
            process.wait(PATIENCE_SECONDS + 30)
        except BaseException:
            process.kill()
            raise
        finally:
            if reading.ident is not None:
                reading.join()
    assert process.returncode == 0
    assert watch.report is not None


@contextmanager
def beside(stack: Stack, *options: str) -> Iterator[Watch]:
    """The witness watches a stack of local processes."""
    gateways = [part for one in stack.gateways for part in ("--gateway", one.url)]
    publisher = ("--publisher", stack.publisher.url)
    command = [sys.executable, witness.__file__, *gateways, *publisher, *options]
    with watched(command, clean_environment(CLARION_JWT_SECRET=SECRET)) as watch:
        yield watch
