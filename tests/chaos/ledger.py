"""Records what was published and when Redis lost it, so that the oracle can judge."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tests.chaos.moments import now_us
from tests.chaos.revoking import Order

TOPIC = "topic:"

# Pods find a dead subscription within so long, by docs/guarantees.md.
_FOUND_OUT_US = 10_000_000


@dataclass(eq=False)
class Entry:
    """One event that is to be published by a producer, or by a handler for a client.

    Attributes:
        number: its number in the data that clients receive, and in its idempotency key.
        audience: "all", "authenticated", a user's id, or "topic:" and a topic.
        first_us: when it was first sent to a publisher.
        attempts: how often it was sent.
        id: from a publisher's 201 or 200; None: no publisher has answered yet. A handler's reply
            has no id; then it is read from Redis.
        accepted_us: when that answer, or the handler's reply, came.
        sender: the client whose message the handler answered; None: a producer's event.
    """

    number: int
    audience: str
    padding: int = 0
    first_us: int = 0
    attempts: int = 0
    id: int | None = None
    accepted_us: int = 0
    sender: str | None = None

    @property
    def json(self) -> dict[str, object]:
        """The event as the publisher takes it; the same bytes at each attempt."""
        audience: object = {"user": self.audience}
        if self.audience in {"all", "authenticated"}:
            audience = self.audience
        elif self.topic is not None:
            audience = {"topic": self.topic}
        return {
            "audience": audience,
            "type": "chaos",
            "data": {"number": self.number, "padding": "x" * self.padding},
            "key": f"chaos-{self.number}",
        }

    @property
    def topic(self) -> str | None:
        """The topic that the event goes to; None: it goes to another audience."""
        _, colon, topic = self.audience.partition(TOPIC)
        return topic if colon else None

    def is_for(self, user: str | None, topics: Collection[str] = ()) -> bool:
        """Whether a connection of ``user`` that receives ``topics`` is entitled to the event."""
        if self.audience == "all":
            return True
        if self.topic is not None:
            return self.topic in topics
        return user is not None and self.audience in {"authenticated", user}


@dataclass
class Ledger:
    """Every event and order, and every moment at which Redis lost data.

    Attributes:
        wipes_us: when Redis lost all its data.
        failovers_us: from when to when a replica replaced the primary. Whatever was not accepted
            by then may be lost.
        silences_us: when subscriptions fell silent without an error. Pods find that out later.
        began_us: when Redis was started.
        overlap_us: by how much a position on a cluster may be wrong.
    """

    entries: list[Entry] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    wipes_us: list[int] = field(default_factory=list)
    failovers_us: list[tuple[int, int]] = field(default_factory=list)
    silences_us: list[int] = field(default_factory=list)
    duplicates: int = 0
    began_us: int = 0
    overlap_us: int = 0

    @property
    def losses(self) -> int:
        """How often clients may have to be told of a loss."""
        return len(self.wipes_us) + len(self.failovers_us)

    def new(self, audience: str, padding: int = 0, sender: str | None = None) -> Entry:
        entry = Entry(len(self.entries), audience, padding, sender=sender)
        self.entries.append(entry)
        return entry

    def sent(self, entry: Entry) -> None:
        """The event is being sent to a publisher."""
        entry.attempts += 1
        entry.first_us = entry.first_us or now_us()

    def accepted(self, entry: Entry, id_: int, *, duplicate: bool) -> None:
        """A publisher has confirmed it."""
        entry.id, entry.accepted_us = id_, now_us()
        self.duplicates += duplicate

    def replied(self, entry: Entry) -> None:
        """A handler has confirmed to its sender that the event is published."""
        entry.accepted_us = now_us()

    def locate(self, logged: Iterable[tuple[int, int]]) -> None:
        """Take over the ids of handlers' events from Redis' logs, given as (id, number)."""
        for id_, number in logged:
            entry = self.entries[number]
            if entry.id is None:
                entry.id = id_

    def ordered(self, order: Order) -> Order:
        """The order is being sent to a publisher."""
        self.orders.append(order)
        return order

    def wiped(self) -> None:
        """Redis has lost all data up to now."""
        self.wipes_us.append(now_us())

    def silenced(self) -> None:
        """Subscriptions fall silent now."""
        self.silences_us.append(now_us())

    def may_be_unheard(self, order: Order, at_us: int) -> bool:
        """Whether a pod may not have found out by then that it cannot hear an order."""
        confirmed_us = order.confirmed_us or at_us
        return any(
            silence <= confirmed_us and at_us <= silence + _FOUND_OUT_US
            for silence in self.silences_us
        )

    def was_wiped(self, id_: int) -> bool:
        """Whether Redis has lost the event with that id."""
        return any(id_ < wipe for wipe in self.wipes_us)

    def wiped_since(self, entry: Entry) -> bool:
        """Whether Redis has lost all data since an event was first sent."""
        return any(entry.first_us <= wipe for wipe in self.wipes_us)

    def may_be_doubled(self, entry: Entry) -> bool:
        """Whether Redis lost the event's idempotency key between two attempts."""
        return any(
            entry.first_us <= end and begin <= entry.accepted_us
            for begin, end in [*self.failovers_us, *((wipe, wipe) for wipe in self.wipes_us)]
        )

    def may_be_told(self, position: int) -> bool:
        """Whether an event after a client's position may have been lost."""
        return self.was_wiped(position) or any(position < end for _, end in self.failovers_us)

    def forgot(self, order: Order) -> bool:
        """Whether Redis has lost an order; gateways restore it a moment later."""
        return any(order.asked_us < wipe for wipe in self.wipes_us)


def number_of(data: bytes | str) -> int:
    """The number in an event's data."""
    return int(json.loads(data)["number"])
