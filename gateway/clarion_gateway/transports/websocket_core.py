"""The sans-I/O core of `websockets`, which parses a WebSocket's frames, and the spare ones.

A core takes 1.4 KB and 3.5 µs to make, and knows nothing between two frames of a client that has
agreed on no extension. So a socket has one only while it needs it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Final

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State as FrameState
from websockets.server import ServerProtocol

from clarion_gateway.wire import frames

# Without context takeover no frame depends on an earlier one, so all sockets can share a frame.
DEFLATE: Final = (
    ServerPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=frames.DEFLATE_WINDOW_BITS,
        client_max_window_bits=frames.DEFLATE_WINDOW_BITS,
    ),
)
# Parsing never waits, so one is enough for sockets whose frames come in whole pieces.
_SPARE: Final = 8

_log = logging.getLogger("clarion.websocket")
_log.setLevel(logging.WARNING)  # the core logs every connection, which the metrics count already


class Core(ServerProtocol):
    """The core of `websockets`, changed where it does not follow two rules of RFC 6455."""

    _ends_with_frame = False

    def __init__(self, max_bytes: int, *, compression: bool = False) -> None:
        super().__init__(
            extensions=DEFLATE if compression else None,
            state=FrameState.OPEN,
            max_size=max_bytes,
            logger=_log,
        )

    @property
    def is_fresh(self) -> bool:
        """Whether it is as it was when it was made: the last bytes ended with a message."""
        return (
            self._ends_with_frame
            and self.current_size is None
            and self.state is FrameState.OPEN
            and self.parser_exc is None
            and not self.extensions
        )

    def receive_data(self, data: bytes | bytearray) -> None:
        """Parse bytes."""
        self._ends_with_frame = False
        super().receive_data(data)

    def recv_frame(self, frame: Frame) -> None:
        """Take one frame whose own form is valid."""
        self._ends_with_frame = not self.reader.buffer
        if frame.opcode is Opcode.PING:
            # The connection answers pings itself. The core's pong would come too late: after the
            # answers to messages that came behind the ping.
            self.events.append(frame)
            return
        if frame.opcode is Opcode.CLOSE:
            # Section 5.4: control frames may come in the middle of a fragmented message.
            self.current_size = None
        super().recv_frame(frame)


class SpareCores:
    """Cores that no socket needs at the moment.

    Args:
        max_bytes: of a message that comes in.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._spare: list[Core] = []

    def take(self) -> Core:
        """A core as if it were new."""
        return self._spare.pop() if self._spare else Core(self._max_bytes)

    def give_back(self, core: Core) -> None:
        """Keep a core that `Core.is_fresh` for another socket."""
        if len(self._spare) < _SPARE:
            self._spare.append(core)


@lru_cache(maxsize=4)
def spare_cores(max_bytes: int) -> SpareCores:
    """Those of all sockets with that limit."""
    return SpareCores(max_bytes)
