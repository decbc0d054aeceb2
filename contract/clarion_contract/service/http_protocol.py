"""Bounded HTTP/1.1 for every port of both services: uvicorn's protocol plus limits.

llhttp parses and uvicorn serves. Neither limits how much a client may send or how long it may take.
Two rules hold everywhere:

- Each connection has one deadline at any moment: `clarion_contract.service.http_deadline`.
- Every byte counts: `clarion_contract.service.http_bytes`.

A client that breaks a limit gets an answer, is counted, and loses its connection.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from clarion_contract.service import http_head
from clarion_contract.service.headers import bare
from clarion_contract.service.http_bytes import ByteCounts
from clarion_contract.service.http_deadline import (
    ANSWER,
    BODY,
    HEAD,
    IDLE,
    LAST,
    RATE_WINDOW_SECONDS,
    Deadline,
)
from clarion_contract.service.http_held_answer import HeldAnswer
from clarion_contract.service.http_port import Breach, Port, refusal_response

_log = structlog.get_logger(__name__)

# Requests that may wait behind the current one: each costs a few kilobytes of memory.
_PIPELINED_MAX: Final = 16


class _Stop(Exception):
    """Stops the parser: it does not look at anything after this point."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One TCP connection; use it through `protocol_class`.

    Attributes:
        due: when `expire` is due.
        is_claimed: the request is not for the app; nothing after its head is parsed.
        is_deaf: incoming bytes are thrown away.
    """

    port: Port  # set on the subclass that `protocol_class` makes
    keeps_alive = True
    """Whether a connection may carry more than one request for the app."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits = self.port.limits
        self._head_max_bytes = limits.head_max_bytes
        self._idle_seconds = limits.idle_seconds
        self.due = Deadline(limits)
        self._bytes = ByteCounts(limits.head_max_bytes)
        self._in_message = False
        self._in_head = True  # also between messages
        self._begun = 0  # messages begun, to see whether one began in the current piece
        self._window_bytes = 0  # of the body, when its rate was last measured
        self._breach: tuple[Breach, str] | None = None
        self.is_claimed = False
        self.is_deaf = False
        self._last_words: bytes | None = None  # written after the answers to earlier requests
        self._held: HeldAnswer | None = None
        self._is_early = False  # the app answered before the body was complete

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection. Its addresses are not looked up, which saves two system calls."""
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        port = self.port
        port.open += 1
        self.due.connected(self.loop.time())
        port.watch(self)
        refusal = port.refusal(transport)
        if refusal is not None:
            self._refuse(*refusal)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self.port.open -= 1
        self.port.forget(self)
        if self.pipeline:  # these requests wait for their turn, which never comes
            self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser piece by piece, then set the deadline for the new phase."""
        if self.is_deaf:
            self._discard(len(data))
            return
        ends = None
        if len(data) + self._bytes.head < self._head_max_bytes:  # nearly always: one piece
            ends = self._feed(data)
            if ends is None and not self.is_claimed:
                # A complete request on an idle connection needs no deadline of its own: `expire`.
                if self._in_message or self.due.phase != IDLE:
                    self._settle()
                return
            data = data[ends or len(data) :]
            if not self._goes_on(ends, data):
                return
        self._feed_pieces(memoryview(data))
        self._settle()

    def _feed_pieces(self, rest: memoryview) -> None:
        """Feed data that is longer than one piece."""
        while rest and not self.is_deaf:
            piece = rest[: self._head_max_bytes - self._bytes.head]
            ends = self._feed(piece)
            rest = rest[len(piece) if ends is None else ends :]
            if not self._goes_on(ends, rest):
                return

    def _goes_on(self, upgrade_ends: int | None, rest: bytes | memoryview) -> bool:
        """Whether the connection still speaks HTTP after a piece."""
        if self.is_claimed and self.took_over():
            return False
        return upgrade_ends is None or (not self.is_deaf and self.upgraded(rest))

    def pause_writing(self) -> None:
        """The client does not take what is written: its time to take it starts now."""
        super().pause_writing()
        if self.due.phase == IDLE:
            self._enter(ANSWER)

    def shutdown(self) -> None:
        """The server stops: finish the current requests, and take no more."""
        if self.due.phase != LAST:
            if self._held is not None:
                self._held.keeps_alive = False
            super().shutdown()

    # Methods that a service may override

    def keeps(self, cycle: RequestResponseCycle) -> bool:  # noqa: ARG002 - for those who override
        """Whether another request may follow this one on the connection."""
        return self.keeps_alive

    def begin(self, headers: dict[bytes, bytes]) -> None:  # noqa: ARG002 - for those who override
        """Begin to serve a request whose head is complete, and good.

        Args:
            headers: by name in lower case; of repeated ones the last.
        """
        self._start_app()

    def took_over(self) -> bool:
        """Whether the connection now speaks another protocol; called once it is claimed."""
        return False

    def upgraded(self, rest: bytes | memoryview) -> bool:  # noqa: ARG002 - for those who override
        """A request asks for an upgrade (or to CONNECT); ``rest`` followed its head.

        Returns:
            Whether to go on reading HTTP, as if the client had not asked for the upgrade (RFC
            9110, section 7.8).
        """
        return self._ignore_upgrade()

    def refusal(self, breach: Breach, detail: str) -> tuple[str, bytes]:
        """The reason for the metric, and the complete response."""
        headers = (("retry-after", "1"),) if breach.status == 503 else ()
        return breach.reason, refusal_response(breach.status, detail, headers=headers)

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request begins. Stop the parser if the connection may carry no further request."""
        cycle = self.cycle
        if (
            self.is_claimed
            or len(self.pipeline) >= _PIPELINED_MAX
            or (cycle is not None and not cycle.keep_alive)
        ):
            raise _Stop
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_message = True
        self._begun += 1
        self._bytes.message_begins()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line; of trailers none is taken.

        The value is kept without white space around it, which uvicorn's method leaves behind it.
        """
        if not self._in_head:
            return
        headers = self.headers
        if len(headers) >= http_head.MAX_HEADERS:
            detail = f"expected at most {http_head.MAX_HEADERS} header lines"
            self._breach = Breach.HEAD_TOO_LARGE, detail
            raise _Stop
        name, value = name.lower(), bare(value)
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete: check it, and serve the request."""
        by_name = self._checked_head()
        if self.parser.should_upgrade():
            return  # `data_received` handles it
        if self.serves_itself():
            self.is_claimed = True
            return
        self.begin(by_name)
        self._in_head = False
        self._bytes.head = 0

    def _start_app(self) -> None:
        """Start the app as uvicorn does, whose two callbacks make the scope and the cycle."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            raise self._broken("expected a path in printable ASCII as the target") from None
        # The app owns the old list. Trailers arrive like headers, and must not be added to it.
        self.headers = []
        if not self.keeps(self.cycle):
            self.cycle.keep_alive = False

    def serves_itself(self) -> bool:
        """Whether the request is not for the app. If so, `took_over` is called next."""
        return False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._bytes.body += len(body)
        if not self._in_head:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if self.parser.should_upgrade():
            return
        in_head = self._in_head
        self._end_message()
        if in_head:
            return  # the app did not get this request
        if self._held is not None:
            self._held.let_go()
            self._held = None
        super().on_message_complete()

    def _end_message(self) -> None:
        self._in_message = False
        self._in_head = True
        self._bytes.head = 0
        self._bytes.message_ends()

    def on_response_complete(self) -> None:
        """An answer has been written: start the next request or set the next deadline."""
        self.server_state.total_requests += 1
        if self.due.phase == LAST:
            return
        if self.transport.is_closing():
            self._enter(LAST)
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            self._enter(ANSWER)
        elif self.is_deaf:
            self._finish()
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.due.phase == IDLE and not self._in_message:
            self.due.wait_idle(self.loop.time())
        else:
            self._settle()

    # Deadlines

    def _settle(self) -> None:
        """Replace the deadline if the connection now waits for something else."""
        if self.due.phase == LAST:
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            phase = HEAD if self._in_message or self._idle_seconds is None else IDLE
        elif self.pipeline or self._in_head or self.is_deaf:
            phase = ANSWER
        else:
            phase = BODY
            self._hold()
        if phase != self.due.phase:
            self._enter(phase)

    def _enter(self, phase: int) -> None:
        self.due.enter(phase, self.loop.time(), is_early=self._is_early)
        if phase == BODY:
            self._window_bytes = self._bytes.body

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        phase, limits = self.due.phase, self.port.limits
        if phase == LAST or self.transport.is_closing():
            self.transport.abort()
        elif phase == IDLE and self.cycle is not None and not self.cycle.response_complete:
            self._enter(ANSWER)
        elif phase == IDLE:
            self._enter(LAST)  # until then, the client may still take what was written
            self.transport.close()
        elif phase == ANSWER:
            self.port.refused("answer_timeout")
            self.transport.abort()
        elif phase == BODY and now < self.due.request_ends:
            least = limits.body_bytes_per_second
            if self.flow.read_paused or (
                self._bytes.body - self._window_bytes >= least * RATE_WINDOW_SECONDS
            ):
                self._window_bytes = self._bytes.body
                self.due.measure_rate(now)
            else:
                detail = f"expected a body at {least:g} bytes per second or more"
                self._refuse(Breach.TOO_SLOW, detail)
        else:
            detail = f"expected the request within {limits.request_seconds:g} seconds"
            self._refuse(Breach.TOO_SLOW, detail)

    # Bounds on bytes

    def _feed(self, piece: bytes | memoryview) -> int | None:
        """Parse a piece and count its bytes. Returns where an upgrade's head ends, or None."""
        begun, in_message = self._begun, self._in_message
        in_body, body_bytes = in_message and not self._in_head, self._bytes.body
        try:
            self._parse(piece)
        except httptools.HttpParserUpgrade as upgrade:
            ends: int = upgrade.args[0]
            return ends
        except httptools.HttpParserCallbackError as error:
            self._stopped(error)
            return None
        except httptools.HttpParserError:
            if not self.is_claimed:
                self._refuse(Breach.MALFORMED, "expected an HTTP/1.1 request")
            return None
        began = self._begun - begun
        if not self._in_message:
            if not began and not in_message:
                self._count_stray(len(piece))
        elif self.is_claimed:
            pass
        elif self._in_head:
            # If a request begins inside the piece, counting its head begins with the next piece.
            self._count_head(len(piece) if began == (not in_message) else 0)
        elif in_body and not began:
            self._count_framing(len(piece), self._bytes.body - body_bytes)
        return None

    def _parse(self, piece: bytes | memoryview) -> None:
        self.parser.feed_data(piece)

    def _count_head(self, size: int) -> None:
        most = self.port.limits.head_max_bytes
        if self._bytes.more_of_head(size):
            detail = f"expected a request head of at most {most} bytes"
            self._refuse(Breach.HEAD_TOO_LARGE, detail)

    def _count_stray(self, size: int) -> None:
        if self._bytes.stray(size):
            self._refuse(Breach.MALFORMED, "expected a request, got empty lines")

    def _count_framing(self, size: int, content: int) -> None:
        most = self.port.limits.head_max_bytes
        if self._bytes.framing(size - content, content):
            self._refuse(
                Breach.MALFORMED,
                f"expected trailers and chunk extensions of at most {most} bytes",
            )

    def _discard(self, size: int) -> None:
        """Throw away the bytes of a client that is no longer listened to."""
        if self._bytes.late(size, is_early=self._is_early):
            self.transport.abort()

    # The head

    def _checked_head(self) -> dict[bytes, bytes]:
        """The headers by name, after the checks of what must hold for every request.

        Raises:
            _Stop: the request breaks a rule.
        """
        by_name = dict(self.headers)
        version = self.parser.get_http_version()
        detail = http_head.fault(self.url, version, self.headers, by_name)
        if detail is not None:
            raise self._broken(detail)
        return by_name

    def _broken(self, detail: str) -> _Stop:
        self._breach = Breach.MALFORMED, detail
        return _Stop(detail)

    def _ignore_upgrade(self) -> bool:
        """Parse the head again without its upgrade. The bytes after it are the request's body."""
        method: bytes = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(Breach.MALFORMED, "expected a request for this server, not for a proxy")
            return False
        version = self.parser.get_http_version()
        head = http_head.without_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._in_message = False
        self._feed(head)
        return not self.is_deaf

    # Ending a connection

    def _stopped(self, error: httptools.HttpParserCallbackError) -> None:
        """A callback has stopped the parser."""
        if self.is_claimed:
            return
        breach, self._breach = self._breach, None
        if breach is not None:
            self._refuse(*breach)
        elif isinstance(error.__context__, _Stop):
            self._take_no_more()
        else:
            _log.error("a request's head was not understood", exc_info=error)
            self._refuse(Breach.MALFORMED, "expected an HTTP/1.1 request")

    def _refuse(self, breach: Breach, detail: str) -> None:
        reason, response = self.refusal(breach, detail)
        self.end_with(reason, response)

    def end_with(self, reason: str | None, response: bytes) -> None:
        """Refuse the incoming request once all earlier ones are answered; then close.

        Args:
            reason: counted in the metric; None: the caller counts the refusal itself.
        """
        if reason is not None:
            self.port.refused(reason)
        self._last_words = response
        cycle = self.cycle
        if not self._in_head and cycle is not None:
            # The app still waits for the rest of this request's body, or will ask for it.
            cycle.disconnected = True
            cycle.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
                self._take_no_more()
            else:
                if cycle.response_started:
                    self._last_words = None
                self._finish()
        else:
            self._take_no_more()

    def _take_no_more(self) -> None:
        """Stop listening; close once the requests before are answered."""
        self.is_deaf = True
        self._bytes.listening_ends()
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._finish()
        elif not cycle.disconnected:
            self._hold()

    def _hold(self) -> None:
        """End the connection after the newest request's answer, in two steps."""
        if self._held is None:
            self._held = HeldAnswer(self.cycle, self.transport, self._finish_answer)

    def _finish_answer(self) -> None:
        """The last answer is written, while the client may still be sending."""
        if self.due.phase != LAST:
            self._is_early = not self._in_head
            self._finish()

    def _finish(self) -> None:
        """Write the last words, then close so that the client can read them (RFC 9112, 9.6)."""
        self.is_deaf = True
        self._bytes.listening_ends()
        self._enter(LAST)
        if self.transport.is_closing():
            return
        if self._last_words:
            self.transport.write(self._last_words)
            self._last_words = None
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()


AnyProtocol = TypeVar("AnyProtocol", bound=BoundedHttpProtocol)


def protocol_class(cls: type[AnyProtocol], port: Port, **attributes: object) -> type[AnyProtocol]:
    """The class for uvicorn's ``http`` setting, which makes one object of it per connection."""
    return type(f"{cls.__name__}OfPort", (cls,), {"port": port, **attributes})
