"""What a position is worth: one id for all streams, where one or several clocks give the ids.

On one Redis a client that has had the event N has had everything up to N. In a cluster that holds
only among the streams of one clock: `all` and `authenticated` share one, a user's stream has
another. For a stream of another clock N is only good to within an overlap, and what lies in it is
read again. The lowest bit of an id tells whose it is (`Keyspace.lane`). No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_APART_BIT: Final = 1


@dataclass(frozen=True, slots=True)
class Positions:
    """How ids compare.

    Attributes:
        overlap: microseconds by which what was heard of one clock's streams may be behind another
            clock's; 0: there is one clock.
    """

    overlap: int = 0

    @property
    def apart_bit(self) -> int:
        """The bit that is set in ids that are not of the shared clock; 0: all are."""
        return _APART_BIT if self.overlap else 0

    def shared_since(self, position: int) -> int:
        """From where a client with that position needs `all` and `authenticated`."""
        return max(0, position - self.overlap) if position & self.apart_bit else position

    def user_since(self, position: int) -> int:
        """From where a client with that position needs its user's stream.

        Where the stream holds that very id, the id is exact.
        """
        return max(0, position - self.overlap)


ONE_CLOCK: Final = Positions()
