"""The stream of events into a server: at a steady rate, or as fast as it takes them.

At a rate, events leave on schedule whether or not the server keeps up (an open loop), so a server
that falls behind shows it in its latencies. A burst keeps a fixed number of events under way (a
closed loop): enough for every server to join what it can, and memory stays bounded.
"""

import time

from bench import payload
from bench.crowd import Crowd
from bench.publishers import Publisher

# Above 500 events/s several leave together: a sleep shorter than this is not kept by the kernel.
_TICK_SECONDS = 0.002


class EventStream:
    """Numbers, stamps and publishes events, and knows how many deliveries they should cause."""

    def __init__(self, publisher: Publisher, crowd: Crowd, recipients: int) -> None:
        self._publisher = publisher
        self._crowd = crowd
        self._recipients = recipients
        self.published = 0

    @property
    def expected(self) -> int:
        """Deliveries due in total for what has been published."""
        return self.published * self._recipients

    def at_rate(self, events_per_second: float, seconds: float) -> None:
        """Publish at a rate for so long, on schedule whatever happens."""
        tick = max(1 / events_per_second, _TICK_SECONDS)
        began = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - began) < seconds:
            due = int(elapsed * events_per_second) + 1 - sent
            if due > 0:
                self._publish(due)
                sent += due
            time.sleep(max(0.0, tick - (time.monotonic() - began) % tick))

    def saturate(self, under_way: int, seconds: float) -> None:
        """Publish for so long, keeping `under_way` events between publish and receipt."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            received = self._crowd.events / self._recipients
            room = int(under_way - (self.published - received))
            if room >= max(1, under_way // 8):
                self._publish(room)
            else:
                time.sleep(0.0005)

    def settle(self, grace_seconds: float) -> bool:
        """Wait until everything published has been received; say whether it was in time."""
        deadline = time.monotonic() + grace_seconds
        while self._crowd.events < self.expected:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _publish(self, count: int) -> None:
        first = self.published
        self._publisher.publish([payload.encode(first + index) for index in range(count)])
        self.published += count
