"""The thread in which `Publisher` sends submitted events."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from clarion.publisher.batches import Bounds, Submitted, Waiting, fail, log_failures
from clarion.publisher.events import Receipt

Batch = Sequence[Submitted[Future[Receipt]]]


class Sender:
    """Sends batches one after the other, so that events keep their order.

    Args:
        send: sends the next batch of those that wait. It is called with the lock released.
    """

    def __init__(self, bounds: Bounds, send: Callable[[Batch], None]) -> None:
        self._waiting: Waiting[Future[Receipt]] = Waiting(bounds, time.monotonic)
        self._send = send
        self._changed = threading.Condition()
        self._stopping = False
        # A daemon, because a program that forgets `close` must be able to end.
        self._thread = threading.Thread(target=self._run, name="clarion-publisher", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def add(self, event: Submitted[Future[Receipt]]) -> None:
        """Add an event; wait while too many wait already."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting.is_full)
            self._waiting.add(event)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until every event has its result."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting.is_idle or not self._thread.is_alive())

    def stop(self) -> None:
        """Send what waits, then end the thread."""
        self.flush()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        atexit.unregister(self.flush)

    def _run(self) -> None:
        while True:
            with self._changed:
                while (seconds := self._waiting.wait_seconds()) != 0.0:
                    if self._stopping:
                        return
                    self._changed.wait(seconds)
                batch = self._waiting.take()
            # From here on a future cannot be cancelled.
            batch = [event for event in batch if event.promise.set_running_or_notify_cancel()]
            try:
                self._send(batch)
            except Exception as error:  # noqa: BLE001 - the futures carry it, and it is logged
                fail(batch, error)
            log_failures(batch)
            with self._changed:
                self._waiting.done()
                self._changed.notify_all()
