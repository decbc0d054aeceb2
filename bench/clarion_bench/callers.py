"""HTTP load: keep-alive connections. Each sends its next request when it has its answer.

It uses plain sockets and one prepared request, in which at most a number changes. So a call costs
the load's core only a few microseconds, and the server remains the limit. Answers are read by their
Content-Length, or up to their last chunk; chunks are not joined.
"""

import selectors
import socket
import time
from dataclasses import dataclass, field

_BUFFER_BYTES = 1 << 20
SERIAL = b"@serial@"
"""In its place, each request has another number of as many digits."""

_LAST_CHUNK = b"\r\n0\r\n\r\n"


class CallError(RuntimeError):
    """The server closed a connection or answered in a way the load client does not read."""


@dataclass
class Calls:
    """The results of one run's calls; `refusals` counts answers outside 2xx."""

    answered: int = 0
    refusals: int = 0
    latencies_ns: list[int] = field(default_factory=list, repr=False)


class _Caller:
    __slots__ = ("called_at", "received", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = b""
        self.called_at = 0


def request(
    port: int, path: str, credentials: str, body: bytes, content_type: str = "application/json"
) -> bytes:
    """Return the bytes of a POST to 127.0.0.1:`port`; `credentials` is a header line."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        credentials,
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def split_answer(received: bytes) -> tuple[int, bytes] | None:
    """Return the status and body of a complete answer, or None if some of it is missing."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return (int(head[9:12]), body) if len(body) >= int(value) else None
        if name.lower() == b"transfer-encoding":
            return (int(head[9:12]), body) if body.endswith(_LAST_CHUNK) else None
    raise CallError(f"expected an answer with Content-Length, got {head[:200]!r}")


class Callers:
    """Connections to one server, all sending the same request, but for its `SERIAL`."""

    def __init__(self, port: int, message: bytes, concurrency: int) -> None:
        self._message = message
        self._numbered = SERIAL in message
        self._serial = 0
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(_BUFFER_BYTES)
        self._callers = [self._connect(port) for _ in range(concurrency)]
        self._calls = Calls()
        self._until = 0.0

    def run(self, seconds: float) -> Calls:
        """Call for this long; return when every call has its answer."""
        self._calls = Calls()
        self._until = time.monotonic() + seconds
        for caller in self._callers:
            self._call(caller)
        waiting = len(self._callers)
        while waiting:
            ready = self._selector.select(30)
            if not ready:
                raise CallError("no answer in 30 s")
            waiting -= sum(self._answered(key.data) for key, _ in ready)
        return self._calls

    def close(self) -> None:
        """Close every connection."""
        for caller in self._callers:
            caller.socket.close()
        self._selector.close()

    def _connect(self, port: int) -> _Caller:
        connection = socket.create_connection(("127.0.0.1", port))
        # A request over 64 KB may need several writes. Those block; reads never do.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller = _Caller(connection)
        self._selector.register(connection, selectors.EVENT_READ, caller)
        return caller

    def _call(self, caller: _Caller) -> None:
        message = self._message
        if self._numbered:
            self._serial += 1
            message = message.replace(SERIAL, b"%08d" % self._serial)
        caller.called_at = time.monotonic_ns()
        caller.socket.sendall(message)

    def _answered(self, caller: _Caller) -> bool:
        """Take incoming bytes; say whether this caller has made its last call."""
        size = caller.socket.recv_into(self._buffer)
        if size == 0:
            raise CallError("the server closed a connection")
        caller.received += self._buffer[:size]
        answer = split_answer(caller.received)
        if answer is None:
            return False
        caller.received = b""
        self._calls.latencies_ns.append(time.monotonic_ns() - caller.called_at)
        self._calls.answered += 1
        self._calls.refusals += answer[0] // 100 != 2
        if time.monotonic() > self._until:
            return True
        self._call(caller)
        return False
