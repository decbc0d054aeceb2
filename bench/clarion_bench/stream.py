"""The stream of events into a server: at a steady rate, or as fast as the server takes them.

At a rate, events leave on schedule whether or not the server keeps up (an open loop). A server that
falls behind shows it in its latencies. A burst keeps as many events on their way as the server
delivers in 0.4 s (a closed loop). That is enough for every server to join what it can, and never to
wait for the load client, which reads every 50 ms. Memory stays bounded.
"""

import time
from typing import Protocol

from clarion_bench import payload
from clarion_bench.crowd import Tally
from clarion_bench.publishers import Publisher

# Above 500 events/s several leave together, because the kernel does not keep a shorter sleep.
_TICK_SECONDS = 0.002
_WAITING_SECONDS = 0.4
_ADAPT_SECONDS = 0.25
_LEAST_UNDER_WAY = 16
_MOST_UNDER_WAY = 16_384


class Receivers(Protocol):
    """Sockets that count what they receive: those of one server (`Crowd`), or of several."""

    @property
    def events(self) -> int:
        """Deliveries received so far."""

    def tally(self) -> Tally:
        """Ask the load processes for all their counters."""


class EventStream:
    """Numbers, stamps and publishes events, and knows how many deliveries they should cause.

    Everything that the crowd received before belongs to earlier streams.
    """

    def __init__(
        self,
        publisher: Publisher,
        crowd: Receivers,
        recipients: int,
        event_bytes: int = payload.SIZE_BYTES,
    ) -> None:
        self._publisher = publisher
        self._event_bytes = event_bytes
        self._crowd = crowd
        self.recipients = recipients
        self.published = 0
        self._before = crowd.events
        self._under_way = _LEAST_UNDER_WAY

    @property
    def expected(self) -> int:
        """Deliveries due in total for all published events."""
        return self.published * self.recipients

    def at_rate(self, events_per_second: float, seconds: float) -> None:
        """Publish at a rate for this long, on schedule whatever happens."""
        tick = max(1 / events_per_second, _TICK_SECONDS)
        began = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(elapsed * events_per_second) + 1 - sent
            if due > 0:
                self._publish(due)
                sent += due
            time.sleep(max(0.0, tick - (time.monotonic() - began) % tick))

    def saturate(self, seconds: float) -> None:
        """Publish for this long, and always keep some events between publish and receipt."""
        began = adapted = time.monotonic()
        before = self._received
        while (now := time.monotonic()) - began < seconds:
            received = self._received
            if now - adapted >= _ADAPT_SECONDS:
                self._adapt((received - before) / (now - adapted))
                before, adapted = received, now
            room = int(self._under_way - (self.published - received))
            if room >= max(1, self._under_way // 8):
                self._publish(room)
            else:
                time.sleep(0.0005)

    def in_batches(self, batches: int, events: int) -> None:
        """Publish batches of so many events, each as soon as Redis has the one before."""
        for _ in range(batches):
            self._publish(events)

    def settle(self, grace_seconds: float) -> bool:
        """Wait until all published events are received; say whether it was in time."""
        deadline = time.monotonic() + grace_seconds
        while self._crowd.events - self._before < self.expected:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    @property
    def _received(self) -> float:
        """Events received by all recipients, on average."""
        return (self._crowd.events - self._before) / self.recipients

    def _adapt(self, events_per_second: float) -> None:
        wanted = int(events_per_second * _WAITING_SECONDS)
        self._under_way = min(_MOST_UNDER_WAY, max(_LEAST_UNDER_WAY, wanted))

    def _publish(self, count: int) -> None:
        first = self.published
        numbers = range(first, first + count)
        self._publisher.publish(
            [payload.encode(number, size_bytes=self._event_bytes) for number in numbers]
        )
        self.published += count
