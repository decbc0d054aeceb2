"""What a fuzzer runs: bytes go in; an answer or a documented error comes out, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 8_192
"""Longer inputs find nothing new: the bounds in these targets' settings are smaller."""

# Of this process's own CPU: a hundred times what the slowest input takes, and no clock on the wall.
_SECONDS = 10.0


class Broken(AssertionError):
    """An input made the code do what it must never do; the text says what."""


@dataclass(frozen=True)
class Target:
    """One thing that parses foreign bytes.

    Attributes:
        name: of its folder in the corpus, too.
        parse: takes any bytes; whatever it raises is a fault.
    """

    name: str
    parse: Callable[[bytes], None]

    def run(self, data: bytes) -> None:
        """Try one input.

        Raises:
            Broken: it took far too long.
            Exception: whatever came out of the code under test and is no documented error.
        """
        began = time.process_time()
        self.parse(data)
        seconds = time.process_time() - began
        if seconds > _SECONDS:
            raise Broken(f"{self.name}: {seconds:.1f} s of CPU for {len(data)} bytes")

    def corpus(self) -> list[bytes]:
        """The inputs that are checked in, in the order of their names."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]


def text_of(data: bytes) -> str:
    """Bytes as the text that an environment variable or a header would hold."""
    return data.decode("utf-8", "surrogateescape")
