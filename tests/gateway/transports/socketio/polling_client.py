"""A client that polls a gateway over one TCP connection, on a clock of its own."""

from __future__ import annotations

from typing import Any

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.heartbeats import Heartbeats
from clarion_gateway.transports.socketio.polling import Polling
from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio.heartbeat import Timing
from tests.fuzz.gateway import Gateway

PATH = "/socket.io/?EIO=4&transport=polling"
SIDS = ("first", "second")


class _Sids:
    """Ids that two gateways give alike."""

    mark = "here"

    def __init__(self) -> None:
        self._rest = list(SIDS)

    def new(self) -> str:
        return self._rest.pop(0)

    def mark_of(self, sid: str) -> str | None:
        return None


class Client:
    """One TCP connection to a gateway with two sessions, which live without a CONNECT.

    Args:
        recognizes: whether the gateway knows polls that come again.
        timing: of the sessions' heartbeats; None: they have none.
    """

    def __init__(
        self, gateway: Gateway, *, recognizes: bool = True, timing: Timing | None = None
    ) -> None:
        self.gateway = gateway
        self.protocol: Any = gateway._protocol
        cls = type(self.protocol)
        cls.recognizes = recognizes
        self.sessions = cls.sessions
        self.sessions.sids = _Sids()
        if timing is not None:
            self.sessions.heartbeats = Heartbeats(timing)
        self.begun = 0
        self.refused = 0.0
        for sid in SIDS:
            self.say(head())
            session = self.sessions.polled[sid].session
            session._uncount()
            if timing is None:
                self.sessions.heartbeats.remove(session)

    def say(self, data: bytes, piece: int = 1 << 20) -> None:
        before = self.protocol._begun
        self.gateway.transport.say(data, piece)
        self.begun = self.protocol._begun - before

    def session(self, sid: str) -> Polling | None:
        found = self.sessions.polled.get(sid)
        return found if isinstance(found, Polling) else None

    def do(self, name: str, *arguments: Any) -> None:
        if self.gateway.transport.lost:
            return
        before = self._refusals()
        if name in {"say", "wait"}:
            getattr(self, name)(*arguments)
        else:
            self.gateway.loop.call_soon(getattr(self, name), *arguments)
        self.gateway.loop.settle()
        self.refused += self._refusals() - before

    def _refusals(self) -> float:
        """Of all gateways."""
        (metric,) = self.sessions.metrics.engineio_refused.collect()
        return sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))

    def write(self, sid: str, size_bytes: int) -> None:
        session = self.session(sid)
        if session is not None:
            session.connection.write(frames.text(b"4" + b"x" * size_bytes))

    def end(self, sid: str) -> None:
        session = self.session(sid)
        if session is not None:
            session.end(close_codes.DRAINING)

    def wait(self, seconds: float) -> None:
        self.gateway.loop.advance(seconds)

    def pause(self) -> None:
        self.protocol.pause_writing()

    def resume(self) -> None:
        self.protocol.resume_writing()

    def stop(self) -> None:
        self.protocol.shutdown()

    @property
    def heard(self) -> tuple[bytes, bool, object, float]:
        transport = self.gateway.transport
        sessions = {
            sid: None if session is None else (session._exchanges.is_polled, session.unsent_bytes)
            for sid in SIDS
            for session in [self.session(sid)]
        }
        return bytes(transport.written), transport.lost, sessions, self.refused


def head(
    sid: str | None = None, t: str | None = None, lines: str = "", method: str = "GET"
) -> bytes:
    query = ("" if t is None else f"&t={t}") + ("" if sid is None else f"&sid={sid}")
    return f"{method} {PATH}{query} HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode()


def post(sid: str, body: str) -> bytes:
    return head(sid, None, f"Content-Length: {len(body)}\r\n", "POST") + body.encode()
