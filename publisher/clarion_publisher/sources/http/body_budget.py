"""The memory that the bodies of all requests under way may take, shared out between callers.

What has arrived counts, not what a head announces: a caller that announces much and sends nothing
holds nothing. And no caller can take all: each may hold as much as is still free, so that one that
takes what it can gets half, two a third each, and the next one always finds room.
"""

from __future__ import annotations

from typing import Final

from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.refusal import RETRY_SECONDS
from clarion_publisher.sources.http.problems import BODY_TOO_LARGE, OVERLOADED, HttpRefusal

# Whoever may publish nothing: no user id is empty.
_NOBODY: Final = ""


def owner_of(caller: Claims) -> str:
    """Whose share a caller's bodies come from.

    An application's users are many, and each holds a token. As long as none of them may do
    anything here, they have one share together.
    """
    may_act = any(scope.startswith(("publish:", "users:")) for scope in caller.scopes)
    return caller.subject if may_act else _NOBODY


class BodyBudget:
    """The memory, and who holds it.

    Attributes:
        max_bytes: of one body; each caller may hold so much while there is room at all.
        held_bytes: by all bodies now.
    """

    def __init__(self, *, max_bytes: int, total_max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._total_max_bytes = total_max_bytes
        self._held_by: dict[str, int] = {}

    def hold(self, caller: str) -> Share:
        """A share of nothing yet, for one body of the caller's; `Share.let_go` ends it."""
        return Share(self, caller)

    def take(self, caller: str, size: int) -> None:
        """Count memory for a caller, before it is used.

        Raises:
            Refusal: there is no more, for anybody or for this caller.
        """
        held = self._held_by.get(caller, 0) + size
        free = self._total_max_bytes - self.held_bytes - size
        if free < 0:
            raise HttpRefusal(
                OVERLOADED,
                "the requests under way hold all the memory set aside for them",
                retry_after_seconds=RETRY_SECONDS,
            )
        if held > max(free, self.max_bytes):
            raise HttpRefusal(
                OVERLOADED,
                "this caller's requests under way hold its share of the memory set aside for all",
                retry_after_seconds=RETRY_SECONDS,
            )
        self.held_bytes += size
        self._held_by[caller] = held

    def let_go(self, caller: str, size: int) -> None:
        """Count memory back."""
        self.held_bytes -= size
        held = self._held_by[caller] - size
        if held:
            self._held_by[caller] = held
        else:
            del self._held_by[caller]


class Share:
    """What one request's body holds."""

    __slots__ = ("_budget", "_caller", "size")

    def __init__(self, budget: BodyBudget, caller: str) -> None:
        self._budget = budget
        self._caller = caller
        self.size = 0

    def let_go(self) -> None:
        """The body is not needed any more."""
        if self.size:
            self._budget.let_go(self._caller, self.size)
            self.size = 0

    def announce(self, size: int) -> None:
        """The head says how large the body will be; nothing is held for it yet.

        Raises:
            Refusal: larger than one body may be.
        """
        if size > self._budget.max_bytes:
            raise HttpRefusal(
                BODY_TOO_LARGE, f"expected a body of at most {self._budget.max_bytes} bytes"
            )

    def arrive(self, size: int) -> None:
        """So many more bytes of the body have come.

        Raises:
            Refusal: larger than one body may be, or more than there is memory for.
        """
        self.announce(self.size + size)
        if size:
            self._budget.take(self._caller, size)
            self.size += size
