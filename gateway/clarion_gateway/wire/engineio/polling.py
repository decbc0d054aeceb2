"""A session that is polled: what becomes of each request, and when it may upgrade. No I/O.

    GET    hangs until something waits for the client; one at a time
    POST   brings packets; one at a time
    probe  a WebSocket with the same sid. The client says ``2probe``, hears ``3probe``, lets its
           poll end and says ``5``: from then on the WebSocket carries the session. Until then,
           polling does.

`clarion_gateway.transports.socketio.polling` does the I/O.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from clarion_gateway.wire.engineio import payloads
from clarion_gateway.wire.engineio.packets import PacketType

PROBE: Final = b"%dprobe" % PacketType.PING
PROBE_ANSWER: Final = b"%dprobe" % PacketType.PONG
UPGRADE: Final = b"%d" % PacketType.UPGRADE
NOOP: Final = b"%d" % PacketType.NOOP


class Phase(Enum):
    """The progress of an upgrade."""

    POLLING = auto()
    PROBING = auto()  # a WebSocket is there
    PROBED = auto()  # and has been probed: polls must end
    UPGRADED = auto()
    CLOSED = auto()


_UPGRADING: Final = frozenset({Phase.PROBING, Phase.PROBED})


class Step(Enum):
    """The answer to a request, or to a message on a WebSocket that probes."""

    WAIT = auto()  # GET: nothing waits for the client. POST: read its body
    ANSWER = auto()  # GET: take what waits
    OVERLAP = auto()  # one is under way: refuse this one, and close the session
    MOVED = auto()  # refuse: the WebSocket carries the session
    UNKNOWN = auto()  # refuse: the session has ended
    PROBE_ANSWER = auto()
    MOVE = auto()  # let the WebSocket carry the session
    FAIL = auto()  # close the WebSocket; the session goes on


class Exchanges:
    """The requests of one session, and what waits for its client.

    Attributes:
        phase: how far an upgrade is.
        is_polled: whether a GET hangs.
        is_posting: whether a POST is under way.
        waiting: buffers of whole frames that no poll has taken.
        waiting_bytes: the length of all of them.
    """

    __slots__ = ("_last_words", "is_polled", "is_posting", "phase", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self.phase = Phase.POLLING
        self.is_polled = False
        self.is_posting = False
        self.waiting: list[bytes] = []
        self.waiting_bytes = 0
        self._last_words = b""

    def write(self, data: bytes) -> None:
        """Let frames wait for the next poll."""
        self.waiting.append(data)
        self.waiting_bytes += len(data)

    def poll(self) -> Step:
        """A GET has come."""
        refused = self._refused(under_way=self.is_polled)
        if refused is not None:
            return refused
        self.is_polled = True
        return Step.ANSWER if self.waiting or self._last_words else Step.WAIT

    def answer(self) -> bytes:
        """The body of the answer to the poll: everything that waits, or else a `NOOP`.

        The last words come alone: clients act on a close before they look at what came with it.
        """
        self.is_polled = False
        if not self.waiting and self._last_words:
            last_words, self._last_words = self._last_words, b""
            return last_words
        return payloads.encode(self.take()) or NOOP

    def take(self) -> list[bytes]:
        """Take everything that waits."""
        waiting, self.waiting = self.waiting, []
        self.waiting_bytes = 0
        return waiting

    def post(self) -> Step:
        """A POST has come; call `posted` when it has been answered."""
        if self.phase is Phase.CLOSED:
            return Step.UNKNOWN
        refused = self._refused(under_way=self.is_posting)
        self.is_posting = refused is None
        return refused or Step.WAIT

    def posted(self) -> None:
        """The POST has been answered."""
        self.is_posting = False

    def _refused(self, *, under_way: bool) -> Step | None:
        if self.phase is Phase.UPGRADED:
            return Step.MOVED
        if self.is_over:
            return Step.UNKNOWN
        return Step.OVERLAP if under_way else None

    # Upgrade

    def probe(self) -> bool:
        """A WebSocket has come; returns whether it may probe. It must be the only one."""
        if self.phase is not Phase.POLLING:
            return False
        self.phase = Phase.PROBING
        return True

    def said(self, message: bytes) -> Step:
        """The client has said something on the WebSocket that probes."""
        if message == PROBE and self.phase is Phase.PROBING:
            self.phase = Phase.PROBED
            return Step.PROBE_ANSWER
        # A client ends its requests first. Some leave out the probe.
        if message == UPGRADE and self.phase in _UPGRADING and not self.is_posting:
            self.phase = Phase.UPGRADED
            return Step.MOVE
        return Step.FAIL

    def probe_failed(self) -> None:
        """The WebSocket that probes is gone: polling goes on."""
        if self.phase in _UPGRADING:
            self.phase = Phase.POLLING

    @property
    def must_release(self) -> bool:
        """Whether the poll that hangs must end, so that the client can complete its upgrade."""
        return self.is_polled and self.phase is Phase.PROBED

    # Close

    def close(self, last_words: bytes) -> None:
        """End the session. Polls take what waits, and then the last words: a packet, or nothing."""
        self.phase = Phase.CLOSED
        self._last_words = last_words

    @property
    def is_over(self) -> bool:
        """Whether the session has ended, and its client has heard everything."""
        return self.phase is Phase.CLOSED and not self.waiting and not self._last_words
