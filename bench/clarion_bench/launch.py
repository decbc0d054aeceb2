"""The start of a process under test, as a value: the command, and the sign that it is ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Launch:
    """A command; `ready` is called repeatedly until it returns True."""

    command: Sequence[str]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
