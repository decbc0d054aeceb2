"""Other gateways that live under this pod's name: a mistake in CLARION_POD, told but survived.

Presence gives each process a number behind the name, so nothing of the two is mixed there. But
logs, metrics, traces and `welcome` cannot tell them apart.
docs/decisions/0017-two-pods-of-one-name.md says why both go on serving.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from clarion_contract.bus.presence import Pods, pod_of

# Names that this process has had before; they may still be there until their time is over.
_OWN_NAMES: Final = 64

_log = structlog.get_logger(__name__)


class Namesakes:
    """The gateways with the pod's own name, as of the last heartbeat.

    Attributes:
        count: how many there are besides this one.
    """

    def __init__(self, pod: str) -> None:
        self.count = 0
        self._pod = pod
        self._own: deque[str] = deque(maxlen=_OWN_NAMES)

    @property
    def warnings(self) -> Sequence[str]:
        """What ``/readyz`` tells, besides whether the pod is ready."""
        if not self.count:
            return ()
        return (f"{self.count} more live under the name {self._pod} (CLARION_POD)",)

    def note(self, pods: Pods) -> None:
        """Look at the answer to a heartbeat."""
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
