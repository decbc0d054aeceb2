"""What was published and when Redis lost it: the truth that the oracle judges by."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field


def now_us() -> int:
    """Microseconds since 1970, as ids count them: Redis runs on this machine."""
    return time.time_ns() // 1_000


@dataclass(eq=False)
class Entry:
    """One event that a producer wants published.

    Attributes:
        number: its name in the data that clients receive, and in its idempotency key.
        audience: "all", "authenticated", or a user's id.
        first_us: when it was first sent to a publisher.
        attempts: how often it was sent.
        id: what a publisher answered with 201 or 200; None: nobody has said so yet.
        accepted_us: when that answer came.
    """

    number: int
    audience: str
    padding: int = 0
    first_us: int = 0
    attempts: int = 0
    id: int | None = None
    accepted_us: int = 0

    @property
    def json(self) -> dict[str, object]:
        """As the publisher takes it; the same bytes at each attempt."""
        shared = self.audience in {"all", "authenticated"}
        return {
            "audience": self.audience if shared else {"user": self.audience},
            "type": "chaos",
            "data": {"number": self.number, "padding": "x" * self.padding},
            "key": f"chaos-{self.number}",
        }

    def is_for(self, user: str | None) -> bool:
        """Whether a connection that speaks for ``user`` is entitled to it."""
        if self.audience == "all":
            return True
        return user is not None and self.audience in {"authenticated", user}


@dataclass
class Ledger:
    """Every event, and every moment at which Redis lost all it had."""

    entries: list[Entry] = field(default_factory=list)
    wipes_us: list[int] = field(default_factory=list)
    duplicates: int = 0

    def new(self, audience: str, padding: int = 0) -> Entry:
        entry = Entry(len(self.entries), audience, padding)
        self.entries.append(entry)
        return entry

    def sent(self, entry: Entry) -> None:
        """It goes to a publisher now."""
        entry.attempts += 1
        entry.first_us = entry.first_us or now_us()

    def accepted(self, entry: Entry, id_: int, *, duplicate: bool) -> None:
        """A publisher has confirmed it."""
        entry.id, entry.accepted_us = id_, now_us()
        self.duplicates += duplicate

    def wiped(self) -> None:
        """Redis has lost everything up to now."""
        self.wipes_us.append(now_us())

    def was_wiped(self, id_: int) -> bool:
        """Whether Redis has lost the event with that id."""
        return any(id_ < wipe for wipe in self.wipes_us)

    def may_be_doubled(self, entry: Entry) -> bool:
        """Whether Redis lost its idempotency key between two attempts."""
        return any(entry.first_us <= wipe <= entry.accepted_us for wipe in self.wipes_us)


def number_of(data: bytes | str) -> int:
    """The number in an event's data."""
    return int(json.loads(data)["number"])
