"""HTTP/1.1 within bounds, alike on every port of both services: uvicorn's protocol, and its limits.

llhttp parses and uvicorn serves; neither bounds what a client may send or how long it may take. Two
rules hold everywhere:

- Each connection has one deadline at any moment. It is replaced when the connection goes on to
  another phase, never cancelled, so no sequence of bytes keeps a connection for ever.
- Every byte counts: request line, headers, the framing of chunks with its extensions, trailers.

What breaks a bound is answered, counted, and ends its connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, Final, TypeVar

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from clarion_contract.service.http_port import Breach, HttpLimits, Port, refusal_response

_log = structlog.get_logger(__name__)

# A client that still sends when it has been answered gets this much time and room to read the
# answer: more where the app has answered before the body was whole than where a bound was broken.
# Closed at once, the connection would be reset, and the answer lost.
_LINGER_SECONDS: Final = 1.0
_LINGER_MAX_BYTES: Final = 1 << 20
_LINGER_BODY_SECONDS: Final = 5.0
_LINGER_BODY_MAX_BYTES: Final = 16 << 20
# An answer that nobody takes, or an app that never gives one, ends the connection after this.
_ANSWER_SECONDS: Final = 60.0
# Requests that may wait behind the one being answered: each costs a few kilobytes of memory.
_PIPELINED_MAX: Final = 16
_INTERNAL_SOCKETS_MAX: Final = 500
# The least rate of a body is looked at over this time, so that a short stall does no harm.
_RATE_WINDOW_SECONDS: Final = 5.0
# The framing of a one-byte chunk: its size, two line ends, and a little to spare.
_FRAMING_PER_BYTE: Final = 8
# RFC 9112, section 2.2: an empty line before a request is ignored. One, not a stream of them.
_STRAY_MAX_BYTES: Final = 2

# uri-host [":" port] (RFC 9110, section 7.2; RFC 3986, section 3.2.2).
_UPGRADE_HEADERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")


class _Phase(Enum):
    """What the connection waits for."""

    IDLE = "a request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    ANSWER = "an answer to be given and taken"
    LAST = "the client to read its last answer"


class _Stop(Exception):
    """Stops the parser: nothing behind this point is looked at."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """One TCP connection; use it through `protocol_class`.

    Attributes:
        deadline: when `expire` is due, on the loop's clock.
        is_claimed: the request is none of the app's; nothing behind its head is looked at.
        is_deaf: what comes in is thrown away.
    """

    port: Port  # set on the subclass that `protocol_class` makes
    keeps_alive = True
    """Whether a connection may carry more than one request."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.deadline = 0.0
        self._phase = _Phase.IDLE
        self._request_ends = 0.0  # the request under way must be whole by then
        self._in_message = False
        self._in_head = True  # also between messages
        self._begun = 0  # messages, to see whether one began in a piece
        self._head_bytes = 0
        self._stray_bytes = 0
        self._body_bytes = 0
        self._framing_bytes = 0  # of the body under way
        self._framing_run_bytes = 0  # of those, since the last byte of content
        self._window_bytes = 0
        self._breach: tuple[Breach, str] | None = None
        self.is_claimed = False
        self.is_deaf = False
        self._last_words: bytes | None = None  # for when the answers under way are given
        self._would_keep_alive = False
        self._is_early = False  # the app has answered before the body was whole

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection. Nobody needs its addresses: that spares two system calls."""
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        port = self.port
        port.open += 1
        now = self.loop.time()
        if port.limits.idle_seconds is None:
            self._phase = _Phase.HEAD
            self.deadline = self._request_ends = now + port.limits.request_seconds
        else:
            self.deadline = now + port.limits.idle_seconds
        port.watch(self)
        if port.is_full:
            detail = f"expected at most {port.max_sockets} connections on this port at a time"
            self._refuse(Breach.TOO_MANY_SOCKETS, detail)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self.port.open -= 1
        self.port.forget(self)
        if self.pipeline:  # these wait for their turn, which never comes
            self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, piece by piece; then see what the connection waits for."""
        if self.is_deaf:
            self._discard(len(data))
            return
        most = self.port.limits.head_max_bytes
        rest: bytes | memoryview = data if len(data) <= most else memoryview(data)
        while rest:
            piece = rest[: most - self._head_bytes]
            upgrade_ends = self._feed(piece)
            if self.took_over():
                return
            if not self._listens():
                break
            if upgrade_ends is None:
                rest = rest[len(piece) :]
            else:
                rest = rest[upgrade_ends:]
                if not self.upgraded(rest):
                    return
        self._settle()

    def shutdown(self) -> None:
        """The server stops: finish what is under way, and nothing more."""
        if self._phase is not _Phase.LAST:
            self._would_keep_alive = False
            super().shutdown()

    # What a service may do in its own way

    def took_over(self) -> bool:
        """Whether the connection has become something else; asked after each piece."""
        return False

    def upgraded(self, rest: bytes | memoryview) -> bool:  # noqa: ARG002 - for those who override
        """A request's head asks for an upgrade (or to CONNECT); ``rest`` came behind it.

        Returns:
            Whether to go on reading HTTP, as if the upgrade had not been asked for (RFC 9110,
            section 7.8).
        """
        return self._ignore_upgrade()

    def refusal(self, breach: Breach, detail: str) -> tuple[str, bytes]:
        """The reason to count, and the whole response."""
        headers = (("retry-after", "1"),) if breach.status == 503 else ()
        return breach.reason, refusal_response(breach.status, detail, headers=headers)

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """A request's first byte. The parser is stopped where one too many begins."""
        cycle = self.cycle
        if (
            self.is_claimed
            or len(self.pipeline) >= _PIPELINED_MAX
            or (cycle is not None and not cycle.keep_alive)
        ):
            raise _Stop
        super().on_message_begin()
        self._in_message = True
        self._begun += 1
        self._stray_bytes = 0

    def on_headers_complete(self) -> None:
        """The head is whole: check what every request must be, and have the app started."""
        self._check_head()
        if self.parser.should_upgrade():
            return  # `data_received` hears of it
        if self.serves_itself():
            self.is_claimed = True
            return
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            raise self._broken("expected a path in printable ASCII as the target") from None
        self._in_head = False
        self._head_bytes = 0
        # The app has the list. Trailers come in like headers, and must not join them.
        self.headers = []
        if not self.keeps_alive:
            self.cycle.keep_alive = False

    def serves_itself(self) -> bool:
        """Whether the request is none of the app's; `took_over` follows."""
        return False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(body)
        if not self._in_head:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there."""
        if self.parser.should_upgrade():
            return
        self._in_message = False
        self._head_bytes = 0
        if self._in_head:
            return  # the app has none of it
        self._in_head = True
        self._body_bytes = self._framing_bytes = self._framing_run_bytes = 0
        cycle = self.cycle
        if isinstance(cycle.transport, _Answering) and not cycle.response_started:
            cycle.transport = self.transport
            cycle.keep_alive = self._would_keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been written: the next request's turn, or the next deadline."""
        self.server_state.total_requests += 1
        if self._phase is _Phase.LAST:
            return
        if self.transport.is_closing():
            self._enter(_Phase.LAST)
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            self._enter(_Phase.ANSWER)
        elif self.is_deaf:
            self._finish()
            return
        self.flow.resume_reading()
        self._settle()

    # Deadlines

    def _settle(self) -> None:
        """Replace the deadline where the connection now waits for something else."""
        if self._phase is _Phase.LAST:
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            phase = _Phase.HEAD if self._in_message else _Phase.IDLE
            if phase is _Phase.IDLE and self.port.limits.idle_seconds is None:
                phase = _Phase.HEAD
        elif self.pipeline or self._in_head or self.is_deaf:
            phase = _Phase.ANSWER
        else:
            phase = _Phase.BODY
            self._hold()
        if phase is not self._phase:
            self._enter(phase)

    def _enter(self, phase: _Phase) -> None:
        limits = self.port.limits
        before, self._phase = self._phase, phase
        now = self.loop.time()
        if phase is _Phase.ANSWER:
            self.deadline = now + _ANSWER_SECONDS
        elif phase is _Phase.IDLE:
            self.deadline = now + (limits.idle_seconds or limits.request_seconds)
        elif phase is _Phase.LAST:
            self.deadline = now + (_LINGER_BODY_SECONDS if self._is_early else _LINGER_SECONDS)
        else:
            if phase is _Phase.HEAD or before is not _Phase.HEAD:
                self._request_ends = now + limits.request_seconds
            self.deadline = self._request_ends
            if phase is _Phase.BODY:
                self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._window_bytes = self._body_bytes
        if self.port.limits.body_bytes_per_second:
            self.deadline = min(self._request_ends, now + _RATE_WINDOW_SECONDS)

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        phase, limits = self._phase, self.port.limits
        if phase is _Phase.LAST or self.transport.is_closing():
            self.transport.abort()
        elif phase is _Phase.IDLE:
            self._enter(_Phase.LAST)  # what was written and is not taken ends with it
            self.transport.close()
        elif phase is _Phase.ANSWER:
            self.port.refused("answer_timeout")
            self.transport.abort()
        elif phase is _Phase.BODY and now < self._request_ends:
            least = limits.body_bytes_per_second
            if self.flow.read_paused or (
                self._body_bytes - self._window_bytes >= least * _RATE_WINDOW_SECONDS
            ):
                self._begin_window(now)
            else:
                detail = f"expected a body at {least:g} bytes per second or more"
                self._refuse(Breach.TOO_SLOW, detail)
        else:
            detail = f"expected the request within {limits.request_seconds:g} seconds"
            self._refuse(Breach.TOO_SLOW, detail)

    # Bounds on bytes

    def _listens(self) -> bool:
        return not self.is_deaf

    def _feed(self, piece: bytes | memoryview) -> int | None:
        """Parse a piece and count its bytes; where an upgrade's head ends, if it holds one."""
        begun, in_message = self._begun, self._in_message
        in_body, body_bytes = in_message and not self._in_head, self._body_bytes
        try:
            self.parser.feed_data(piece)
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
        if self.is_claimed:
            return None
        began = self._begun - begun
        if not self._in_message:
            if not in_message and not began:
                self._count_stray(len(piece))
        elif self._in_head:
            # Of a request that begins somewhere in the piece, counting begins with the next one.
            self._count_head(len(piece) if began == (not in_message) else 0)
        elif in_body and not began:
            self._count_framing(len(piece), self._body_bytes - body_bytes)
        return None

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        most = self.port.limits.head_max_bytes
        if self._head_bytes >= most:
            detail = f"expected a request head of at most {most} bytes"
            self._refuse(Breach.HEAD_TOO_LARGE, detail)

    def _count_stray(self, size: int) -> None:
        self._stray_bytes += size
        if self._stray_bytes > _STRAY_MAX_BYTES:
            self._refuse(Breach.MALFORMED, "expected a request, got empty lines")

    def _count_framing(self, size: int, content: int) -> None:
        """Bound chunk sizes, chunk extensions and trailers, which no parser bounds."""
        framing = size - content
        if not framing:
            self._framing_run_bytes = 0
            return
        self._framing_bytes += framing
        self._framing_run_bytes = 0 if content else self._framing_run_bytes + framing
        most = self.port.limits.head_max_bytes
        if (
            self._framing_run_bytes > most
            or self._framing_bytes > most + _FRAMING_PER_BYTE * self._body_bytes
        ):
            self._refuse(
                Breach.MALFORMED,
                f"expected trailers and chunk extensions of at most {most} bytes",
            )

    def _discard(self, size: int) -> None:
        """Throw away what a client sends that is not listened to any more."""
        self._stray_bytes += size
        if self._stray_bytes > (_LINGER_BODY_MAX_BYTES if self._is_early else _LINGER_MAX_BYTES):
            self.transport.abort()

    # The head

    def _check_head(self) -> None:
        """What every request must be.

        Raises:
            _Stop: it is not.
        """
        version = self.parser.get_http_version()
        hosts = [value for name, value in self.headers if name == b"host"]
        if version == "1.1":
            if len(hosts) != 1:
                raise self._broken(f"expected one Host header, got {len(hosts)}")
        elif version != "1.0":
            raise self._broken(f"expected HTTP/1.1, got HTTP/{version}")
        elif len(hosts) > 1 or any(name == b"transfer-encoding" for name, _ in self.headers):
            # RFC 9112, sections 3.2 and 6.1.
            raise self._broken("expected one Host header and no Transfer-Encoding in HTTP/1.0")
        if hosts and not _is_host(hosts[0]):
            raise self._broken("expected a host, and a port if need be, in the Host header")
        if not self.url.startswith(b"/") and not _has_path(self.url):
            raise self._broken("expected a path as the target")

    def _broken(self, detail: str) -> _Stop:
        self._breach = Breach.MALFORMED, detail
        return _Stop(detail)

    def _ignore_upgrade(self) -> bool:
        """Parse the head again without its upgrade. The bytes behind it are the request's body."""
        method: bytes = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(Breach.MALFORMED, "expected a request for this server, which is no proxy")
            return False
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % each for each in self.headers if each[0] not in _UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._in_message = False
        self._feed(b"\r\n".join([*lines, b"", b""]))
        return not self.is_deaf

    # Ends

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
        """Refuse the request that is coming in, when those before it are answered; then close.

        Args:
            reason: is counted; None: the caller has counted it in its own way.
        """
        if reason is not None:
            self.port.refused(reason)
        self._last_words = response
        cycle = self.cycle
        if not self._in_head and cycle is not None:
            # The app waits for the rest of this request's body, or has it still before it.
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
        """Listen no more; close when what was asked before is answered."""
        self.is_deaf = True
        self._stray_bytes = 0
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._finish()
        elif not cycle.disconnected:
            self._hold()

    def _hold(self) -> None:
        """Have the newest request's answer end the connection, in two steps.

        uvicorn would keep it open, or close it while the client still sends.
        """
        cycle = self.cycle
        if isinstance(cycle.transport, _Answering):
            return
        self._would_keep_alive = cycle.keep_alive
        cycle.keep_alive = False
        cycle.transport = _Answering(self, self.transport)  # type: ignore[assignment]

    def finish_answer(self) -> None:
        """The last answer is written; the client may still be sending."""
        if self._phase is not _Phase.LAST:
            self._is_early = not self._in_head
            self._finish()

    def _finish(self) -> None:
        """Write the last words, and close so that the client can read them (RFC 9112, 9.6)."""
        self.is_deaf = True
        self._stray_bytes = 0
        self._enter(_Phase.LAST)
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


class _Answering:
    """The transport that an app's answer is written to while its request is not whole."""

    def __init__(self, protocol: BoundedHttpProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Not at once: see `BoundedHttpProtocol.finish_answer`."""
        self._protocol.finish_answer()


def protocol_class(cls: type[AnyProtocol], port: Port, **attributes: object) -> type[AnyProtocol]:
    """The class to give to uvicorn's ``http`` setting: it makes one object per TCP connection."""
    return type(f"{cls.__name__}OfPort", (cls,), {"port": port, **attributes})


def internal_protocol(refused: Callable[[str], None]) -> type[BoundedHttpProtocol]:
    """The same for an internal port, which kubelets and scrapers ask."""
    port = Port(HttpLimits(), max_sockets=_INTERNAL_SOCKETS_MAX, refused=refused)
    return protocol_class(BoundedHttpProtocol, port)


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _has_path(target: bytes) -> bool:
    """Whether a target in absolute form (RFC 9112, section 3.2.2) names a path."""
    try:
        path: bytes | None = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        return False
    return path is not None and path.startswith(b"/")
