"""The events that a client missed, and how they are joined with those that it holds. No I/O.

`clarion_gateway.delivery.replay` finds them, and `clarion_gateway.clients.resumption` joins them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from clarion_contract.bus.positions import ONE_CLOCK, Positions
from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Event
from clarion_contract.texts.piece import newest, whole_pieces
from clarion_gateway.delivery.ring import Segment

_by_id: Final = attrgetter("id")


@dataclass(frozen=True, slots=True)
class Missed:
    """The events that a client missed, as far as they could be found.

    Attributes:
        whole: whether they are complete back to the client's position.
        events: those from Redis may be ahead of the pod's position.
        shared_since: the client lacks the events above this id on `all` and `authenticated`.
        user_since: the same on streams with a name, such as its user's.
        exact: streams of these on which the client lacks the events above ``since``.
        since: the client's position.
        not_resumed: audiences that clients know by their names, whose history does not reach back.
        segments: more events, from the ring.
    """

    whole: bool
    events: Sequence[Event]
    shared_since: int = 0
    user_since: int = 0
    segments: Sequence[Segment] = ()
    exact: Collection[str] = ()
    since: int = 0
    not_resumed: Sequence[Audience] = ()

    @property
    def newest_piece(self) -> int:
        """The highest id of the pieces of growing texts; 0: there are none."""
        return newest(self.events)

    def lacks(self, event: Event) -> bool:
        """Whether the client lacks an event, which is not in the segments."""
        if not event.audience.named:
            return event.id > self.shared_since
        exact = event.audience.stream in self.exact
        return event.id > (self.since if exact else self.user_since)


NOT_WHOLE: Final = Missed(False, ())
"""The outcome for a client whose events are not all known."""


def key(event: Event) -> tuple[int, str]:
    """Identify an event. Its id is not enough: on a cluster, two clocks may issue the same one."""
    return event.id, event.audience.stream


def merge(
    missed: Missed,
    held: Sequence[Event],
    position: int,
    positions: Positions = ONE_CLOCK,
    *,
    apart: bool = False,
) -> list[Event | Segment]:
    """Join missed and held events: each event up to ``position`` once, in id order.

    A segment stays whole unless a single event lies within it.

    Args:
        held: the events that came in since before `Replay.missed` was called.
        position: the pod's present one. Events that Redis holds beyond it are still to come by
            subscription. On streams of other clocks, the caller has waited for all that was read.
        apart: return single events only, so that a gap may be put between any two.
    """
    events = {
        key(event): event for event in missed.events if positions.is_delivered(event.id, position)
    }
    # The segments have all shared events with history up to their end. Held ones come twice.
    in_ring = missed.segments[-1].last if missed.segments else 0
    events.update(
        (key(event), event)
        for event in held
        if event.audience.named or event.id > in_ring or not event.history
        # The missed piece holds the whole text.
        if not event.of_text or key(event) not in events
    )
    singles = [event for event in events.values() if missed.lacks(event)]
    if any(event.of_text for event in singles):
        singles, _ = whole_pieces(sorted(singles, key=_by_id))
    ids = sorted(event.id for event in singles)
    items: list[Event | Segment] = []
    for segment in missed.segments:
        is_cut = bisect_left(ids, segment.first) < bisect_right(ids, segment.last)
        if apart or is_cut or not positions.is_delivered(segment.last, position):
            singles += [
                event for event in segment.events if positions.is_delivered(event.id, position)
            ]
        else:
            items.append(segment)
    items += singles
    items.sort(key=lambda item: item.first if isinstance(item, Segment) else item.id)
    return items
