"""Notices other gateways with this pod's name, which is a mistake in CLARION_POD, and warns.

Presence adds a number of each process to the name, so it does not mix them up. But nobody can tell
them apart in logs, metrics, traces and `welcome`. docs/decisions/0017-two-pods-of-one-name.md says
why both go on serving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from clarion_contract.bus.presence import Pods, pod_of

# How many earlier names of this process are remembered. Redis may still list them for a while.
_OWN_NAMES: Final = 64

_log = structlog.get_logger(__name__)


class Namesakes:
    """The gateways with the pod's own name, as of the last heartbeat.

    Attributes:
        count: the number of gateways with that name besides this one.
    """

    def __init__(self, pod: str) -> None:
        self.count = 0
        self._pod = pod
        self._own: deque[str] = deque(maxlen=_OWN_NAMES)

    @property
    def warnings(self) -> Sequence[str]:
        """The warnings in the answer of ``/readyz``; they do not make the pod unready."""
        if not self.count:
            return ()
        return (f"{self.count} more live under the name {self._pod} (CLARION_POD)",)

    def note(self, pods: Pods) -> None:
        """Count the namesakes in the answer to a heartbeat, and log a change."""
        if pods.name is not None and pods.name not in self._own:
            self._own.append(pods.name)
        names = [each for each in pods.loads if pod_of(each) == self._pod and each not in self._own]
        if bool(names) != bool(self.count):
            self._tell(len(names))
        self.count = len(names)

    def _tell(self, count: int) -> None:
        if count:
            _log.error(
                "another gateway lives under the same name; give each its own with CLARION_POD",
                name=self._pod,
                others=count,
            )
        else:
            _log.info("no other gateway lives under the same name any more", name=self._pod)
