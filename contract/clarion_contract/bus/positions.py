"""What a position is worth: one id for all streams, where one or several clocks give the ids.

On one Redis a client that has had the event N has had everything up to N. In a cluster that holds
only among the streams of one clock: `all` and `authenticated` share one, a user's stream has
another. Such a stream is called apart. There N is only good to within an overlap, and what lies in
it is read again. The lowest bit of an id tells whether it is of the shared clock
(`Keyspace.lane`). Everything that differs between both stands here. No I/O.
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
        audience: those who may have missed some of them.
        until: the highest id that a lost event may have. Every event above it was read.
        forgotten: a failover has dropped them, so that no log shows that they are missing.
    """

    audience: Audience
    until: int
    forgotten: bool = False


class Positions(Protocol):
    """How ids compare. A position is an id that a client names, or up to which the pod delivered.

    Attributes:
        exact: the pod's position tells of every stream how much of it was delivered.
        several_sources: a channel may pass on what a former primary says, see `Bus.holds`.
    """

    @property
    def exact(self) -> bool: ...  # noqa: D102

    @property
    def several_sources(self) -> bool: ...  # noqa: D102

    def is_apart(self, stream: str) -> bool:
        """Whether a stream's ids are not of the shared clock."""
        ...

    def shared_since(self, position: int) -> int:
        """From where a client with that position needs `all` and `authenticated`."""
        ...

    def user_since(self, position: int) -> int:
        """From where a client with that position needs its user's stream.

        Where the stream holds that very id, the id is exact.
        """
        ...

    def last_shared(self, events: Sequence[Event]) -> int:
        """The position to which a round of events leads; 0: to none."""
        ...

    def is_delivered(self, id_: int, position: int) -> bool:
        """Whether the pod at that position has delivered an event that a client missed.

        Of streams that are apart the caller has waited for all that the log held.
        """
        ...

    def place(self, loss: Loss, heard: int) -> int:
        """The position at which clients are told of a loss.

        Args:
            heard: everything up to here was heard, on every stream of the shared clock.
        """
        ...

    def forgotten_until(self, losses: Sequence[Loss], until: int) -> int:
        """Below which position a failover may have dropped events; 0: there was none.

        Args:
            until: the id of the shared clock up to which its streams are read.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneClock:
    """One Redis: positions are exact on all streams."""

    exact: bool = True
    several_sources: bool = False

    def is_apart(self, stream: str) -> bool:  # noqa: ARG002 - none is
        """See `Positions`."""
        return False

    def shared_since(self, position: int) -> int:
        """See `Positions`."""
        return position

    def user_since(self, position: int) -> int:
        """See `Positions`."""
        return position

    def last_shared(self, events: Sequence[Event]) -> int:
        """See `Positions`."""
        return events[-1].id

    def is_delivered(self, id_: int, position: int) -> bool:
        """See `Positions`."""
        return id_ <= position

    def place(self, loss: Loss, heard: int) -> int:
        """Where it lies; but no client is led back, though another stream may be ahead of it."""
        return max(loss.until, heard)

    def forgotten_until(self, losses: Sequence[Loss], until: int) -> int:  # noqa: ARG002
        """See `Positions`: the losses' own ids tell."""
        return max((loss.until for loss in losses if loss.forgotten), default=0)


@dataclass(frozen=True, slots=True)
class SeveralClocks:
    """A cluster: positions are exact on the streams of the shared clock.

    Attributes:
        overlap: microseconds by which what was heard of one clock's streams may be behind another
            clock's.
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

    def last_shared(self, events: Sequence[Event]) -> int:
        """See `Positions`."""
        return next((event.id for event in reversed(events) if not event.id & _APART_BIT), 0)

    def is_delivered(self, id_: int, position: int) -> bool:
        """See `Positions`."""
        return id_ <= position or bool(id_ & _APART_BIT)

    def place(self, loss: Loss, heard: int) -> int:
        """Before all that was not heard yet, where another clock's ids do not say where it lies."""
        if loss.forgotten or loss.audience.named:
            return heard
        # A log that is empty ends at the time when its data set began, which may be odd. A client
        # that came back from there would seem to come from a stream that is apart.
        return max(loss.until & ~_APART_BIT, heard)

    def forgotten_until(self, losses: Sequence[Loss], until: int) -> int:
        """See `Positions`."""
        return until if any(loss.forgotten for loss in losses) else 0


ONE_CLOCK: Final = OneClock()
