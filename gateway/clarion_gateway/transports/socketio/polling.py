"""Long polling: HTTP requests that carry a session of Engine.IO, without a task of their own.

A GET hangs until something waits for the client. A POST brings packets; it is answered when they
have been taken, so a client whose handlers are behind sends no more. Between two polls nothing but
this object and the frames that wait take memory: the frames count as those of slow clients do
(`clarion_gateway.connections.outbound`), bodies as other messages do
(`clarion_gateway.connections.inbound`). A client that polls no more answers no ping, and is closed.

The decisions are sans I/O: `clarion_gateway.wire.engineio.polling`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import NO_SOCKET, Connection, State
from clarion_gateway.connections.outbound import Backlog
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.socket import CLOSE_SECONDS
from clarion_gateway.transports.socketio.exchange import Exchange
from clarion_gateway.transports.socketio.requests import POLLING, WEBSOCKET
from clarion_gateway.transports.socketio.session import NO_CARRIER, Carrier, Session
from clarion_gateway.wire.engineio import errors, payloads
from clarion_gateway.wire.engineio.packets import Packet, PacketType
from clarion_gateway.wire.engineio.polling import Exchanges, Step
from clarion_gateway.wire.socketio.format import SOCKETIO

_CLOSE: Final = b"%d" % PacketType.CLOSE
_OK: Final = b"ok"
_OF_EARLIER_PROTOCOL: Final = "application/octet-stream"
# A client gets its polls released this often while it upgrades. Released once only, it could have
# begun another poll meanwhile, and would stay on polling until the next ping.
_RELEASE_SECONDS: Final = 0.1


class Probing(Protocol):
    """The WebSocket that probes."""

    def abandon(self, close: Close) -> None:
        """Close it: the session has ended, or the client took too long."""
        ...


class Polling:
    """A session's requests.

    Attributes:
        connection: the session's, for which everything counts.
        session: set by `open_session`.
    """

    __slots__ = (
        "_backlog", "_closing", "_exchanges", "_is_flushing", "_is_paused", "_is_taking",
        "_packets", "_poll", "_post", "_probe", "_releasing", "_sessions", "_taken", "_timer",
        "connection", "session", "sid",
    )  # fmt: skip

    name = POLLING

    def __init__(self, sessions: Sessions, sid: str) -> None:
        self.sid = sid
        self.connection = Connection(SOCKETIO, NO_SOCKET)
        self.connection.write = self.write
        self.session: Session
        self._sessions = sessions
        self._exchanges = Exchanges()
        self._poll: Exchange | None = None
        self._post: Exchange | None = None
        self._packets: Iterator[Packet] | None = None
        self._is_paused = False
        self._is_taking = False
        self._is_flushing = False
        self._backlog: Backlog | None = None
        self._taken: asyncio.Event | None = None
        self._closing: Close | None = None
        self._probe: Probing | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._releasing: asyncio.TimerHandle | None = None

    # Polls

    def poll(self, exchange: Exchange) -> None:
        """A GET has come."""
        step = self._exchanges.poll()
        if self._refuses(exchange, step):
            return
        exchange.carrier = self
        self._poll = exchange
        if step is Step.ANSWER:
            self._flush()

    def write(self, data: bytes) -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        if not data:  # the format has no word for it: the poll need not end
            return
        self._exchanges.write(data)
        if self._poll is not None:
            if not self._is_flushing:  # everything that is written now leaves together
                self._is_flushing = True
                self._sessions.flushes.add(self)
            return
        if self._backlog is None:
            self._backlog = self._behind()
        self._backlog.add(data)
        self._close_slow()

    def _behind(self) -> Backlog:
        return self._sessions.outbound.behind(
            self.connection, lambda: self._exchanges.waiting_bytes
        )

    def flush(self) -> None:
        """See `clarion_gateway.connections.flushes.Flushing`."""
        self._is_flushing = False
        if self._poll is not None and self._exchanges.waiting:
            self._flush()

    def _flush(self) -> None:
        """Answer the poll that hangs, with what waits or else a `NOOP`."""
        exchange, self._poll = self._poll, None
        body = self._exchanges.answer()
        self._all_taken()
        if exchange is not None:
            exchange.answer_poll(body)
        if self._exchanges.is_over:
            self._gone()

    def _all_taken(self) -> None:
        if self._backlog is not None:
            self._backlog.end()
            self._backlog = None
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    def _close_slow(self) -> None:
        """Close a live client that leaves more bytes than it may; others get time to catch up."""
        if (
            self.connection.state is State.LIVE
            and self.unsent_bytes > self._sessions.settings.max_unsent_bytes
        ):
            self._sessions.metrics.slow_consumers.inc()
            self.session.close(close_codes.SLOW_CONSUMER)

    # POSTs

    def begin_post(self, exchange: Exchange) -> None:
        """The head of a POST has come."""
        if self._refuses(exchange, self._exchanges.post()):
            return
        exchange.carrier = self
        self._post = exchange
        if exchange.request.header("content-type") == _OF_EARLIER_PROTOCOL:
            self._bad_post("expected text: binary bodies belong to Engine.IO 3")
            return
        exchange.go_on()
        self.grown(exchange)

    def grown(self, exchange: Exchange) -> None:
        """More of a body has come."""
        if exchange is not self._post or not exchange.is_waiting:
            return
        grown_bytes = len(exchange.body) - exchange.held_bytes
        if len(exchange.body) > self._sessions.settings.message_max_bytes:
            self._answer_post(errors.TOO_LARGE)
        elif grown_bytes > 0:
            exchange.held_bytes += grown_bytes
            self._sessions.inbound.hold(self.connection, grown_bytes)

    def posted(self, exchange: Exchange) -> None:
        """The whole POST has come."""
        if exchange is not self._post or not exchange.is_waiting:
            return
        body = exchange.take_body()
        try:
            body.decode()
        except UnicodeDecodeError:
            self.session.invalid_text()
            return
        self._packets = payloads.decode(body)
        self._take()

    def _take(self) -> None:
        """Take packets until one must wait, or all are taken."""
        if self._is_taking:  # a packet has made the session read on
            return
        self._is_taking = True
        try:
            while self._packets is not None and self.is_reading:
                if not self.session.take_next(self._packets):
                    self._packets = None
                    self._answer_post(None)
        finally:
            self._is_taking = False

    def _answer_post(self, error: errors.EngineError | None) -> None:
        exchange, self._post = self._post, None
        self._packets = None
        self._exchanges.posted()
        if exchange is None:
            return
        self._let_go(exchange)
        if error is None:
            exchange.answer(_OK)
        else:
            exchange.refuse(error)

    def _let_go(self, exchange: Exchange) -> None:
        """Count the body no more."""
        if exchange.held_bytes:
            self._sessions.inbound.release(self.connection, exchange.held_bytes)
            exchange.held_bytes = 0

    def _bad_post(self, detail: str) -> None:
        self._sessions.metrics.messages.labels("malformed").inc()
        self.end(close_codes.malformed(detail))

    def _refuses(self, exchange: Exchange, step: Step) -> bool:
        if step is Step.MOVED:
            exchange.refuse(errors.BAD_REQUEST)
        elif step is Step.UNKNOWN:
            exchange.refuse(errors.UNKNOWN_SESSION)
        elif step is Step.OVERLAP:
            exchange.refuse(errors.BAD_REQUEST)
            self.end(close_codes.protocol_error("expected one poll and one POST at a time"))
        else:
            return False
        return True

    # Upgrade

    def probe(self, probe: Probing) -> bool:
        """A WebSocket has come; returns whether it may probe. It has limited time."""
        if not self._exchanges.probe():
            return False
        self._probe = probe
        loop = asyncio.get_running_loop()
        seconds = self._sessions.settings.handshake_seconds
        self._timer = loop.call_later(
            seconds, probe.abandon, close_codes.protocol_error("expected an upgrade in time")
        )
        return True

    def said(self, message: bytes) -> Step:
        """The client has said something on the WebSocket that probes."""
        step = self._exchanges.said(message)
        if step is Step.PROBE_ANSWER:
            self._release()
        return step

    def _release(self) -> None:
        """End a poll that hangs, and do so again and again until the upgrade is complete."""
        if self._exchanges.must_release:
            self._flush()
        if self._probe is not None and self._closing is None:
            loop = asyncio.get_running_loop()
            self._releasing = loop.call_later(_RELEASE_SECONDS, self._release)

    def probe_ended(self) -> None:
        """The WebSocket that probed is gone: polling goes on."""
        self._exchanges.probe_failed()
        self._forget_probe()

    def move(self, carrier: Carrier, write: Callable[[bytes], None]) -> None:
        """Let a WebSocket carry the session, which sends what waits. Polls get a `NOOP`.

        Args:
            write: sends frames on the WebSocket.
        """
        self.session.move(carrier, write)
        if self._is_paused:
            carrier.pause_reading()
        waiting = b"".join(self._exchanges.take())
        self._all_taken()
        self._forget_probe()
        if self._poll is not None:
            self._flush()
        if waiting:
            write(waiting)

    def _forget_probe(self) -> None:
        self._probe = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._releasing is not None:
            self._releasing.cancel()
            self._releasing = None

    # Carrier

    @property
    def unsent_bytes(self) -> int:
        """See `clarion_gateway.connections.connection.Socket`."""
        return self._exchanges.waiting_bytes

    @property
    def is_reading(self) -> bool:
        """See `clarion_gateway.connections.connection.Socket`."""
        return self._closing is None and not self._is_paused and not self.session.must_wait

    def pause_reading(self) -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        self._is_paused = True

    def resume_reading(self) -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        self._is_paused = False
        self._take()

    async def drained(self) -> None:
        """See `clarion_gateway.connections.connection.Socket`."""
        if self.unsent_bytes > self._sessions.behind_bytes:
            self._taken = self._taken or asyncio.Event()
            await self._taken.wait()

    def carry(self, after: Connection) -> bool:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        if self._post is not None and self._post.held_bytes:
            self._sessions.inbound.release(self.connection, self._post.held_bytes)
            self._sessions.inbound.hold(after, self._post.held_bytes)
        self.connection = after
        if self._backlog is not None:  # what waits for a poll, such as the refusal of a CONNECT
            self._backlog.end()
            self._backlog = self._behind()
            self._backlog.begin()
        return True

    def end(self, close: Close, *, message: bytes = b"") -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`.

        A poll that hangs is told. If none does, the next one is, or nobody after a few seconds. A
        client polls no more if its POST is refused, or if it has fallen silent: its session is
        unknown at once.
        """
        if self._closing is not None:
            return
        self._closing = close
        self._sessions.closing += 1
        self.session.ended(close)
        if self.unsent_bytes > self._sessions.behind_bytes:  # the client would not take them either
            self._exchanges.take()
            self._all_taken()
        is_silent = self._post is not None or close is close_codes.KEEP_ALIVE
        # A POST that has not been taken whole must not look as if it had.
        self._answer_post(None if close is close_codes.NORMAL else errors.BAD_REQUEST)
        if close is close_codes.NORMAL:  # the client has said that it wants no more
            self._exchanges.take()
            self._exchanges.close(b"")
        else:
            self._exchanges.close(_CLOSE)
            if message:
                self._exchanges.write(message)
        if self._poll is not None:
            self._flush()
        if self._exchanges.is_over or (is_silent and not message):
            self._gone()
        else:
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._gone)

    def cut(self, close: Close) -> None:
        """See `clarion_gateway.transports.socketio.session.Carrier`."""
        self._exchanges.take()
        if self._closing is None:
            self.end(close)
        self._gone()

    def broken(self, exchange: Exchange) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`: the session has ended."""
        if exchange is self._poll:
            self._poll = None
        elif exchange is self._post:
            self._post = None
            self._let_go(exchange)
        else:
            return
        self.cut(close_codes.ABNORMAL)

    def stop(self) -> None:
        """See `clarion_gateway.transports.socketio.exchange.Awaiting`."""
        self.end(close_codes.DRAINING)

    def _gone(self) -> None:
        """Forget everything."""
        if self._sessions.polled.pop(self.sid, None) is None:
            return
        if self._closing is not None:
            self._sessions.closing -= 1
        self._exchanges.take()
        self._all_taken()
        if self._probe is not None:
            self._probe.abandon(self._closing or close_codes.NORMAL)
        # Breaks the cycles, so that all are freed at once.
        self.connection.socket = NO_SOCKET
        self.session.carrier = NO_CARRIER

    def forget(self) -> None:
        """The WebSocket that carried the session has ended."""
        self._sessions.polled.pop(self.sid, None)


def open_session(sessions: Sessions, sid: str, request: ConnectionRequest) -> bytes:
    """Begin a session; returns the body of the answer to the request."""
    polling = Polling(sessions, sid)
    polling.session = Session(sessions, polling, polling.connection, request)
    sessions.polled[sid] = polling
    return polling.session.handshake(sid, (WEBSOCKET,))


def find(sessions: Sessions, sid: str) -> Polling | None:
    """The session of an id, even if a WebSocket carries it now; None: this pod has none."""
    polling = sessions.polled.get(sid)
    return polling if isinstance(polling, Polling) else None
