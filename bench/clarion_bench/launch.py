"""How a process under test is started, as a value: what to run and when it is ready."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Launch:
    """A command ready to run; `ready` is asked again and again until it says yes."""

    command: Sequence[str]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
