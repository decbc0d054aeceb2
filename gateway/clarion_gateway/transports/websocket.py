"""A WebSocket on a TCP connection (RFC 6455), without a task of its own.

It is an `asyncio.Protocol` around the sans-I/O core of `websockets`. The core parses the frames
that come in and does the closing handshake. Outgoing messages do not pass through the core: they
are framed once for all sockets (`clarion_gateway.wire.frames`), and a server's data frames change
none of the core's state.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import State as FrameState

from clarion_contract.service.http_port import refusal_response
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socket import TcpSocket
from clarion_gateway.transports.websocket_core import Core, spare_cores
from clarion_gateway.transports.websocket_handshake import agree
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import Formats, WireFormat

_PIECE_BYTES: Final = 4_096
# Read after the gateway's close frame, because the client's own may come behind older messages.
_LATE_MAX_BYTES: Final = 16_384


class WebSocket(TcpSocket):
    """One WebSocket, from its handshake on."""

    __slots__ = ("_core", "_early", "_fragments", "_fragments_bytes", "_kept_bytes", "_late_bytes")

    upgrades: ClassVar[bool] = True

    def __init__(self, sessions: Sessions, transport: asyncio.Transport) -> None:
        super().__init__(sessions, transport)
        self._early = b""
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._kept_bytes = 0
        self._late_bytes = 0
        self._core: Core | None = None  # while it needs one

    @staticmethod
    def turned_away(close: Close, origin: str | None, wire_format: WireFormat) -> bytes:  # noqa: ARG004
        """See `TcpSocket`."""
        retry = (("retry-after", str(close.retry_seconds)),)
        return refusal_response(close.status, close.reason, headers=retry)

    def handshake(self, request: ConnectionRequest, formats: Formats) -> bytes | None:
        """See `TcpSocket`.

        The HTTP response leaves together with `welcome`, or with the close frame that refuses.
        """
        settings = self._sessions.settings
        agreed = agree(
            request, formats, settings.message_max_bytes, compression=settings.compression
        )
        if isinstance(agreed, bytes):
            return agreed
        self._head, wire_format, self._core = agreed
        self._connection = Connection(wire_format, self)
        return None

    def data_received(self, data: bytes) -> None:
        """Parse frames, and hand whole messages on.

        The bytes are parsed in pieces, so that a client that sends thousands of tiny frames at
        once is stopped after a few hundred.

        Until the connection is live, nothing is answered: the first bytes wait, and no more are
        read.
        """
        if self._closing is None and self._must_wait():
            self._early += data
            self._transport.pause_reading()
            self._count_kept()
            return
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._receive(piece)
            if self._closing is not None:
                self._late_bytes += len(piece)
                if self._late_bytes > _LATE_MAX_BYTES:
                    self._transport.abort()
            if self._transport.is_closing():
                return
        if self._kept_bytes or self._held_bytes():
            self._count_kept()

    def _must_wait(self) -> bool:
        """Whether nothing is to be parsed now."""
        return self._connection.state is not State.LIVE

    def _held_bytes(self) -> int:
        """Memory of messages that are not whole, and of those that came too early."""
        rest_bytes = 0 if self._core is None else len(self._core.reader.buffer)
        return len(self._early) + self._fragments_bytes + rest_bytes

    def _count_kept(self) -> None:
        """Count what is held of the client's messages."""
        kept_bytes = self._held_bytes()
        grown_bytes, self._kept_bytes = kept_bytes - self._kept_bytes, kept_bytes
        if grown_bytes > 0:
            self._sessions.inbound.hold(self._connection, grown_bytes)
        elif grown_bytes < 0:
            self._sessions.inbound.release(self._connection, -grown_bytes)

    def _receive(self, data: bytes) -> None:
        core = self._needed_core()
        core.receive_data(data)
        for event in core.events_received():
            if isinstance(event, Frame):
                self._frame(event)
                # The core's parser keeps the frame until the next one comes, maybe for hours.
                event.data = b""
        self.awaiting_pong = False
        output = core.data_to_send()  # close frames only
        if core.parser_exc is not None:
            self._fail(core.parser_exc)
        elif core.close_rcvd is not None:
            # RFC 6455, section 7.1.1: after both close frames, the server closes TCP first.
            if self._closing is None:
                self._close_with(close_codes.NORMAL, b"".join(output))
            self._transport.close()
        elif core.is_fresh and core is self._core:
            self._core = None
            spare_cores(self._sessions.settings.message_max_bytes).give_back(core)

    def _needed_core(self) -> Core:
        """The core, which the socket has until its parser is between two messages."""
        if self._core is None:
            self._core = spare_cores(self._sessions.settings.message_max_bytes).take()
        return self._core

    def resume_reading(self) -> None:
        """See `Socket`."""
        super().resume_reading()
        if self._early and self._closing is None:
            early, self._early = self._early, b""
            self.data_received(early)

    def ping(self) -> None:
        """See `Socket`."""
        self.awaiting_pong = True
        super().ping()

    def close(self, close: Close, *, message: bytes = b"") -> None:
        """See `Connection.close`."""
        if self._is_ending():
            return
        core = self._needed_core()
        if core.state is FrameState.OPEN:
            core.send_close(close.code, close.reason)
            frame = b"".join(core.data_to_send())
        else:  # the core has failed the connection, and made a close frame of its own
            frame = frames.close(close.code, close.reason)
        self._drop_kept()
        closing = self._connection.format.closing(close.label, close.reason)
        self._close_with(close, self._head + message + closing + frame)
        self._transport.resume_reading()  # so that the client's own close frame is read

    def cut(self, close: Close) -> None:
        """See `Connection.cut`."""
        super().cut(close)
        self._drop_kept()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `TcpSocket`."""
        super().connection_lost(exc)
        self._drop_kept()

    def _drop_kept(self) -> None:
        """Drop the parts of messages that came in: they are not needed any more."""
        self._early = b""
        self._fragments = None
        self._fragments_bytes = 0
        # The core may wait for the rest of a frame. That frame now counts as if it had not begun.
        # The client has no more time than `close` gives it.
        if self._core is not None:
            self._core.reader.buffer.clear()
        self._count_kept()

    def _frame(self, frame: Frame) -> None:
        if self._closing is not None:
            return
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            self._part(frame)
        elif frame.opcode is Opcode.BINARY:
            self._binary(frame)
        elif frame.opcode is Opcode.PING:
            if self._sessions.spend(self._connection):
                self._connection.write(frames.pong(frame.data))
        elif frame.opcode is Opcode.PONG:
            if not self.awaiting_pong:
                self._sessions.spend(self._connection)  # no ping asked for it
            self.awaiting_pong = False

    def _binary(self, frame: Frame) -> None:  # noqa: ARG002 - for those who override
        """A frame begins a binary message."""
        self.close(close_codes.UNSUPPORTED_DATA)

    def _message(self, data: bytes) -> None:
        """A message is whole."""
        self._sessions.receive(self._connection, data)

    def _part(self, frame: Frame) -> None:
        data = bytes(frame.data)
        if frame.fin and self._fragments is None:
            self._message(data)
        elif self._sessions.spend(self._connection):
            fragments = self._fragments = self._fragments or []
            fragments.append(data)
            self._fragments_bytes += len(data)
            if frame.fin:
                self._fragments = None
                self._fragments_bytes = 0
                self._message(b"".join(fragments))

    def _fail(self, error: Exception) -> None:
        """Close for an error that the core found in the frames, with a reason of the gateway's."""
        if self._closing is not None:
            self._transport.abort()
        elif isinstance(error, PayloadTooBig):
            self.close(close_codes.too_large(self._sessions.settings.message_max_bytes))
        elif isinstance(error, UnicodeDecodeError):
            self.close(close_codes.INVALID_TEXT)
        else:
            self.close(close_codes.protocol_error(str(error)))
