"""Long polling on an HTTP port: each request goes to its session, without a task.

A poll that repeats the one before it is not read again
(`clarion_gateway.transports.socketio.repeats`).

The ports' protocols bound what a request may cost (`clarion_contract.service.http_protocol`). Two
of their deadlines are not for polling: a poll may hang as long as its session lives, which the
heartbeat bounds; and a TCP connection may wait for the client's next request.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final, NamedTuple

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from clarion_contract.service.http_deadline import ANSWER, IDLE
from clarion_contract.service.http_protocol import BoundedHttpProtocol
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections.outbound import Backlog
from clarion_gateway.transports.request import located, peer_of
from clarion_gateway.transports.socketio import polling, requests
from clarion_gateway.transports.socketio.exchange import Exchange
from clarion_gateway.transports.socketio.repeats import KnownHead, is_whole_head
from clarion_gateway.transports.socketio.unread import backlog
from clarion_gateway.transports.target import split
from clarion_gateway.wire.engineio import errors
from clarion_gateway.wire.engineio.errors import EngineError

# Longer than proxies keep their connections: they must be the ones that close, since a request
# under way would be lost.
_IDLE_SECONDS: Final = 75.0


class _KnownPoll(NamedTuple):
    """The newest poll of a TCP connection that was read."""

    head: KnownHead
    exchange: Exchange
    session: polling.Polling


class PollingHttpProtocol(BoundedHttpProtocol, ABC):
    """A port that serves long polling, beside the requests for its app."""

    sessions: Sessions  # set on the subclass of the port
    recognizes = False
    """Whether a request that was admitted is admitted whenever it comes again."""
    _exchange: Exchange | None = None
    _backlog: Backlog | None = None
    _known: _KnownPoll | None = None
    _head: bytes | None = None  # of the exchange; None: it did not come by itself, in one piece

    @abstractmethod
    def polls(self, path: bytes) -> bool:
        """Whether a path is that of Engine.IO."""

    @abstractmethod
    def admits(self, exchange: Exchange) -> bool:
        """Whether the sender may send this; refuses the request if not."""

    @abstractmethod
    def pass_on(self, exchange: Exchange, sid: str) -> bool:
        """Let another pod have the request if the session is there; says whether it may be."""

    # A request's way

    def data_received(self, data: bytes) -> None:
        """See `BoundedHttpProtocol`."""
        known = self._known
        if known is not None and known.head.is_repeated_by(data) and self._is_due(known):
            self._poll_again(known)
            return
        begun, is_between = self._begun, self._is_between
        super().data_received(data)
        exchange = self._exchange
        if is_between and exchange is not None and exchange.belongs_to(self.cycle):
            is_alone = self._begun == begun + 1 and not exchange.more_body
            self._head = data if is_alone and is_whole_head(data) else None

    @property
    def _is_between(self) -> bool:
        """Whether the next byte that comes in begins a request."""
        return not (self._in_message or self.is_deaf or self.is_claimed or self._bytes.has_stray)

    def _is_due(self, known: _KnownPoll) -> bool:
        """Whether the same poll would be served now."""
        before = self.cycle
        return (
            before.response_complete
            and before.keep_alive
            and self._is_between
            and self.due.phase == IDLE
            and not self.flow.write_paused
            and self.sessions.polled.get(known.session.sid) is known.session
        )

    def _poll_again(self, known: _KnownPoll) -> None:
        exchange = known.exchange
        exchange.again(self)
        self.cycle = exchange  # type: ignore[assignment]  # it has what is used of uvicorn's
        self._exchange = exchange
        known.session.poll(exchange)

    def begin(self, headers: Mapping[bytes, bytes]) -> None:
        """See `BoundedHttpProtocol`: a request for Engine.IO needs no app."""
        try:
            target = split(self.url)
        except httptools.HttpParserInvalidURLError:
            target = b"", b""
        if not self.polls(target[0]):
            self._start_app()
            return
        method = self.parser.get_method().decode("ascii")
        exchange = Exchange(self, method, target, self.headers, headers)
        exchange.keep_alive = (
            self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        )
        exchange.waiting_for_100_continue = self.expect_100_continue
        self.headers = []  # trailers arrive like headers, and must not be added to these
        before, self.cycle = self.cycle, exchange  # type: ignore[assignment]  # as above
        if before is None or before.response_complete:
            self._start(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]

    def _start_asgi_task(
        self, cycle: RequestResponseCycle | Exchange, app: ASGI3Application
    ) -> None:
        if isinstance(cycle, Exchange):  # it had to wait for earlier ones
            self._start(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _start(self, exchange: Exchange) -> None:
        if self._idle_seconds != _IDLE_SECONDS:  # the first one
            self._idle_seconds = _IDLE_SECONDS
            self.transport.set_write_buffer_limits(high=self.sessions.behind_bytes)
        self._exchange = exchange
        self._head = None
        # Not at once: the parser is at work, and the answer may close the connection.
        self.loop.call_soon(self._begin, exchange, not exchange.more_body)

    def _begin(self, exchange: Exchange, is_complete: bool) -> None:
        if exchange is not self._exchange or not exchange.is_waiting:
            return
        if self.flow.write_paused:  # the client asks on without reading its answers
            exchange.close_afterwards()
            self.refuse(exchange, errors.BAD_REQUEST)
            return
        if not self.admits(exchange):
            return
        if exchange.method == "OPTIONS":
            exchange.answer(b"", status=204, headers=requests.preflight(exchange.request))
            return
        fields = exchange.fields
        error = requests.refused_poll(fields, exchange.method)
        if error is None:
            error = self._serve(exchange, fields.get("sid"))
        if error is not None:
            self.refuse(exchange, error)
        elif is_complete and exchange.method == "POST":  # it had to wait for earlier ones
            self._complete(exchange)

    def _serve(self, exchange: Exchange, sid: str | None) -> EngineError | None:
        if sid is None:
            return self._open(exchange)
        session = polling.find(self.sessions, sid)
        if session is None:
            return None if self.pass_on(exchange, sid) else errors.UNKNOWN_SESSION
        if exchange.method == "GET":
            if self.recognizes and self._head is not None:
                self._known = _KnownPoll(KnownHead(self._head), exchange, session)
                self._head = None
            exchange.forget_head()
            session.poll(exchange)
        else:
            session.begin_post(exchange)
        return None

    def _open(self, exchange: Exchange) -> EngineError | None:
        sessions = self.sessions
        request = located(sessions, exchange.request, peer_of(self.transport))
        close = sessions.refuse_early(request.address)
        sid = sessions.sids.new()
        if close is not None or sid is None:
            label = "unavailable" if close is None else close.label
            sessions.metrics.handshakes.labels("socketio", label).inc()
            return errors.UNAVAILABLE
        exchange.answer(polling.open_session(sessions, sid, request))
        return None

    def refuse(self, exchange: Exchange, error: EngineError) -> None:
        """Answer with an error of the protocol, and count it."""
        self.sessions.metrics.engineio_refused.labels(error.label).inc()
        exchange.refuse(error)

    def _complete(self, exchange: Exchange) -> None:
        if exchange.carrier is not None:
            exchange.carrier.posted(exchange)

    # httptools' callbacks

    def on_body(self, body: bytes) -> None:
        """See `BoundedHttpProtocol`."""
        super().on_body(body)
        exchange = self._exchange
        if exchange is None or not exchange.belongs_to(self.cycle):
            return
        self.flow.resume_reading()  # the carrier bounds bodies
        if exchange.method == "POST":
            self.loop.call_soon(self._grown, exchange)
        else:
            exchange.take_body()  # nothing reads it

    def _grown(self, exchange: Exchange) -> None:
        if exchange.carrier is not None:
            exchange.carrier.grown(exchange)

    def on_message_complete(self) -> None:
        """See `BoundedHttpProtocol`."""
        super().on_message_complete()
        exchange = self._exchange
        if exchange is None or exchange.method != "POST":  # a poll has begun with its head
            return
        if exchange.belongs_to(self.cycle):
            self.loop.call_soon(self._complete, exchange)

    def on_response_complete(self) -> None:
        """See `BoundedHttpProtocol`."""
        polled, self._exchange = self._exchange is not None, None
        super().on_response_complete()
        if polled and self.due.phase == IDLE:
            self.due.at = self.loop.time() + _IDLE_SECONDS

    # The end of a request or a connection

    def expire(self, now: float) -> None:
        """See `BoundedHttpProtocol`: a request that its session has is not late."""
        exchange = self._exchange
        if exchange is not None and exchange.carrier is not None and self.due.phase in _SERVED:
            self._enter(ANSWER)
        else:
            super().expire(now)

    def end_with(self, reason: str | None, response: bytes) -> None:
        """See `BoundedHttpProtocol`."""
        if not self._in_head:
            self._lose_exchange()
        super().end_with(reason, response)

    def pause_writing(self) -> None:
        """See `BoundedHttpProtocol`: an answer that is not read counts."""
        super().pause_writing()
        if self._idle_seconds == _IDLE_SECONDS and self._backlog is None:
            self._backlog = backlog(self.sessions.outbound, self.transport)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._end_backlog()

    def _end_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.end()
            self._backlog = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See `BoundedHttpProtocol`."""
        self._end_backlog()
        super().connection_lost(exc)
        self._lose_exchange()
        self._known = None

    def shutdown(self) -> None:
        """See `BoundedHttpProtocol`: a poll would hang for ever."""
        super().shutdown()
        if self._exchange is not None and self._exchange.carrier is not None:
            self._exchange.carrier.stop()

    def hand_over(self, socket: asyncio.Protocol) -> None:
        """Give the TCP connection to the socket, so that this object is freed at once."""
        self.connections.discard(self)
        self.port.forget(self)
        self.transport.set_protocol(socket)
        # The parser is written in C: only the garbage collector would free this cycle.
        self.parser = None  # type: ignore[assignment]
        self.transport = self.flow = None  # type: ignore[assignment]

    def _lose_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        exchange.lose()
        if exchange.carrier is not None:
            exchange.carrier.broken(exchange)


_SERVED: Final = frozenset({IDLE, ANSWER})
