"""The meaning of a position: one id for all streams, whether one or several clocks give the ids.

On one Redis, a client that has received event N has received everything up to N. On a cluster this
holds only among the streams of one clock: `all` and `authenticated` share a clock, and each user's
stream has another one. A stream that is not on the shared clock is called *apart*. On a stream
that is apart, N is exact only to within an overlap, and the events in the overlap are read again.
The lowest bit of an id tells whether the shared clock issued it (`Keyspace.lane`). This module
holds every difference between the two cases. No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.redis.keyspace import SHARED_BUCKET, bucket_of

_APART_BIT: Final = 1


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that no log holds any more.

    Attributes:
        audience: the clients that may have missed some of the events.
        until: the highest id that a lost event may have. Every event above it was read.
        forgotten: a failover dropped the events, so no log shows that they are missing.
    """

    audience: Audience
    until: int
    forgotten: bool = False


class Positions(Protocol):
    """The order of ids. A position is an id that a client names, or up to which the pod delivered.

    Attributes:
        exact: the pod's one position tells for every stream how much of it was delivered.
        several_sources: a channel may carry messages of a former primary, see `Bus.holds`.
    """

    @property
    def exact(self) -> bool: ...  # noqa: D102

    @property
    def several_sources(self) -> bool: ...  # noqa: D102

    def is_apart(self, stream: str) -> bool:
        """Whether the stream's ids come from another clock than the shared one."""
        ...

    def shared_since(self, position: int) -> int:
        """The id after which a client at that position needs `all` and `authenticated`."""
        ...

    def user_since(self, position: int) -> int:
        """The id after which a client at that position needs its user's stream.

        The id is exact if the stream holds an event with that very id.
        """
        ...

    def share_clock(self, stream: str, other: str) -> bool:
        """Whether one clock issues the ids of both streams."""
        ...

    def last_shared(self, events: Sequence[Event]) -> int:
        """The position that the pod reaches with a round of events; 0: the position stays."""
        ...

    def is_delivered(self, id_: int, position: int) -> bool:
        """Whether the pod, at that position, has delivered an event that a client missed.

        For streams that are apart, the caller has waited for all events that the log held.
        """
        ...

    def place(self, loss: Loss, heard: int) -> int:
        """The position at which the pod tells clients of a loss.

        Args:
            heard: the pod has heard all events up to this id on every stream of the shared clock.
        """
        ...

    def forgotten_until(self, losses: Sequence[Loss], until: int) -> int:
        """The position below which a failover may have dropped events; 0: there was no failover.

        Args:
            until: the id of the shared clock up to which its streams have been read.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneClock:
    """One Redis: positions are exact on all streams."""

    exact: bool = True
    several_sources: bool = False

    def is_apart(self, stream: str) -> bool:  # noqa: ARG002 - no stream is apart
        """See `Positions`."""
        return False

    def shared_since(self, position: int) -> int:
        """See `Positions`."""
        return position

    def user_since(self, position: int) -> int:
        """See `Positions`."""
        return position

    def share_clock(self, stream: str, other: str) -> bool:  # noqa: ARG002 - all do
        """See `Positions`."""
        return True

    def last_shared(self, events: Sequence[Event]) -> int:
        """See `Positions`."""
        return events[-1].id

    def is_delivered(self, id_: int, position: int) -> bool:
        """See `Positions`."""
        return id_ <= position

    def place(self, loss: Loss, heard: int) -> int:
        """At the loss, but never before ``heard``: another stream may already be past the loss."""
        return max(loss.until, heard)

    def forgotten_until(self, losses: Sequence[Loss], until: int) -> int:  # noqa: ARG002
        """See `Positions`. The ids of the losses decide."""
        return max((loss.until for loss in losses if loss.forgotten), default=0)


@dataclass(frozen=True, slots=True)
class SeveralClocks:
    """A cluster: positions are exact on the streams of the shared clock.

    Attributes:
        overlap: microseconds by which the pod may have heard less of one clock's streams than of
            another's.
    """

    overlap: int
    exact: bool = False
    several_sources: bool = True

    def is_apart(self, stream: str) -> bool:
        """See `Positions`."""
        return bucket_of(stream) != SHARED_BUCKET

    def shared_since(self, position: int) -> int:
        """See `Positions`."""
        return max(0, position - self.overlap) if position & _APART_BIT else position

    def user_since(self, position: int) -> int:
        """See `Positions`."""
        return max(0, position - self.overlap)

    def share_clock(self, stream: str, other: str) -> bool:
        """See `Positions`."""
        return bucket_of(stream) == bucket_of(other)

    def last_shared(self, events: Sequence[Event]) -> int:
        """See `Positions`."""
        return next((event.id for event in reversed(events) if not event.id & _APART_BIT), 0)

    def is_delivered(self, id_: int, position: int) -> bool:
        """See `Positions`."""
        return id_ <= position or bool(id_ & _APART_BIT)

    def place(self, loss: Loss, heard: int) -> int:
        """Before all events not heard yet, since another clock's id does not locate the loss."""
        if loss.forgotten or loss.audience.named:
            return heard
        # An empty log ends at the time when its data set began, and that number may be odd. A
        # client that resumed from an odd position would seem to come from a stream that is apart.
        return max(loss.until & ~_APART_BIT, heard)

    def forgotten_until(self, losses: Sequence[Loss], until: int) -> int:
        """See `Positions`."""
        return until if any(loss.forgotten for loss in losses) else 0


ONE_CLOCK: Final = OneClock()
