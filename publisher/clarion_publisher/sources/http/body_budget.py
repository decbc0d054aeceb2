"""The memory for the bodies of all current requests, and its division between callers.

Only bytes that have arrived count, not the size announced in a head: a caller that announces much
and sends nothing holds nothing. No caller can take all the memory, because each may hold only as
much as is still free. If every caller takes what it can, one gets half, two get a third each, and
the next one always finds room.
"""

from __future__ import annotations

from typing import Final

from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.refusal import RETRY_SECONDS
from clarion_publisher.sources.http.problems import BODY_TOO_LARGE, OVERLOADED, HttpRefusal

# Owner for callers without any right to act here. No user id is empty.
_NOBODY: Final = ""


def owner_of(caller: Claims) -> str:
    """The owner of the share that a caller's bodies come from.

    An application has many users, and each holds a token. As long as a user may not act here, it
    uses one share together with all other such users.
    """
    may_act = any(scope.startswith(("publish:", "users:")) for scope in caller.scopes)
    return caller.subject if may_act else _NOBODY


class BodyBudget:
    """The memory, and how much each caller holds.

    Attributes:
        max_bytes: of one body; while there is room at all, each caller may hold this much.
        held_bytes: by all bodies now.
    """

    def __init__(self, *, max_bytes: int, total_max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._total_max_bytes = total_max_bytes
        self._held_by: dict[str, int] = {}

    def hold(self, caller: str) -> Share:
        """An empty share for one body of the caller; end it with `Share.let_go`."""
        return Share(self, caller)

    def take(self, caller: str, size: int) -> None:
        """Count memory for a caller, before it is used.

        Raises:
            Refusal: no memory is left, either at all or for this caller.
        """
        held = self._held_by.get(caller, 0) + size
        free = self._total_max_bytes - self.held_bytes - size
        if free < 0:
            raise HttpRefusal(
                OVERLOADED,
                "the current requests use all the memory reserved for bodies",
                retry_after_seconds=RETRY_SECONDS,
            )
        if held > max(free, self.max_bytes):
            raise HttpRefusal(
                OVERLOADED,
                "this caller's current requests use its share of the memory reserved for bodies",
                retry_after_seconds=RETRY_SECONDS,
            )
        self.held_bytes += size
        self._held_by[caller] = held

    def let_go(self, caller: str, size: int) -> None:
        """Give memory back."""
        self.held_bytes -= size
        held = self._held_by[caller] - size
        if held:
            self._held_by[caller] = held
        else:
            del self._held_by[caller]


class Share:
    """The memory that one request's body holds."""

    __slots__ = ("_budget", "_caller", "size")

    def __init__(self, budget: BodyBudget, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self.size = 0

    def let_go(self) -> None:
        """Give back all memory of the body."""
        if self.size:
            self._budget.let_go(self._caller, self.size)
            self.size = 0

    def announce(self, size: int) -> None:
        """Check the size that the head announces; no memory is held for it yet.

        Raises:
            Refusal: the size is over the limit for one body.
        """
        if size > self._budget.max_bytes:
            raise HttpRefusal(
                BODY_TOO_LARGE, f"expected a body of at most {self._budget.max_bytes} bytes"
            )

    def arrive(self, size: int) -> None:
        """Count bytes of the body that have arrived.

        Raises:
            Refusal: the body is over the limit for one body, or no memory is left for it.
        """
        self.announce(self.size + size)
        if size:
            self._budget.take(self._caller, size)
            self.size += size
