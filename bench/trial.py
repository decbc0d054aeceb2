"""One trial: warm up, measure a window, and see whether everything arrived."""

from dataclasses import dataclass

from bench.crowd import Tally
from bench.stream import EventStream
from bench.window import Instruments, Window, between

# Within this, at a rate, everything must have come: a server that needs longer has fallen behind.
_GRACE_SECONDS = 2.0
# A burst ends with events under way by design.
_BURST_GRACE_SECONDS = 20.0
# An event or two are under way at either edge of a window.
_KEPT_UP_SHARE = 0.98


@dataclass(frozen=True)
class Load:
    """What a trial offers: events at a rate, or a burst where it is None."""

    events_per_second: float | None
    warmup_seconds: float
    seconds: float


@dataclass(frozen=True)
class Trial:
    """The window, and what had come in after everything was published and waited for.

    `missing` counts deliveries that had not come when the grace was over. `kept_up`: none, and the
    window saw what was offered; one that trails by a constant second only fails the latter.
    """

    window: Window
    tally: Tally
    missing: int
    kept_up: bool


def run(load: Load, stream: EventStream, instruments: Instruments) -> Trial:
    """Carry out a trial on a server whose sockets are open."""
    _offer(load, stream, load.warmup_seconds)
    before = instruments.read()
    _offer(load, stream, load.seconds)
    after = instruments.read()
    stream.settle(_GRACE_SECONDS if load.events_per_second else _BURST_GRACE_SECONDS)
    tally = instruments.read().tally
    missing = stream.expected - tally.events
    offered = (load.events_per_second or 0.0) * stream.recipients
    window = between(before, after)
    kept_up = missing == 0 and window.events_per_second >= _KEPT_UP_SHARE * offered
    return Trial(window, tally, missing, kept_up)


def _offer(load: Load, stream: EventStream, seconds: float) -> None:
    if load.events_per_second is None:
        stream.saturate(seconds)
    else:
        stream.at_rate(load.events_per_second, seconds)
