"""A load client of engine.io's long polling: the requests of one session, and the loop over all.

A session has one TCP connection, which carries its polls and, in between, its POSTs. Browsers use
two; the server's work is the same. Each request has a new value of the field ``t``, as those of
socket.io-client have.
"""

import contextlib
import socket
import time

from clarion_bench.dialects import Dialect
from clarion_bench.load import LoadProcess, Peer

_SEPARATOR = b"\x1e"
_LENGTH = b"content-length:"


class UnexpectedResponseError(ValueError):
    """A server gave an answer that no session goes on with."""


class PollSession:
    """One session: which request follows which answer. No I/O."""

    def __init__(self, dialect: Dialect, port: int) -> None:
        self._dialect = dialect
        self._port = port
        self._path = ""
        self._data = b""
        self._greeted = 0
        self._requests = 0

    @property
    def is_open(self) -> bool:
        """Whether the whole greeting has come."""
        return self._greeted == len(self._dialect.greeting)

    def begin(self, query: str) -> bytes:
        """Return the request that opens the session."""
        self._path = self._dialect.path + query
        return self._poll()

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Take bytes in; return the messages in a complete answer, and the next request."""
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return [], b""
        self._data = b""
        if b" 200 " not in head[:16]:
            raise UnexpectedResponseError(head.split(b"\r\n")[0].decode(errors="replace"))
        if body == b"ok":
            return [], self._poll()
        return self._taken(body.split(_SEPARATOR))

    def _taken(self, packets: list[bytes]) -> tuple[list[bytes], bytes]:
        replies = []
        messages = []
        for packet in packets:
            reply = self._dialect.answers.get(packet, b"")
            if not self.is_open and packet.startswith(self._dialect.greeting[self._greeted][0]):
                if not self._greeted:
                    sid = packet.partition(b'"sid":"')[2].partition(b'"')[0]
                    self._path += "&sid=" + sid.decode()
                reply = self._dialect.greeting[self._greeted][1]
                self._greeted += 1
            elif not reply:
                messages.append(packet)
            if reply:
                replies.append(reply)
        return messages, self._post(_SEPARATOR.join(replies)) if replies else self._poll()

    def _target(self) -> str:
        self._requests += 1
        return f"{self._path}&t={self._requests:08x}"

    def _poll(self) -> bytes:
        head = f"GET {self._target()} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n"
        return head.encode()

    def _post(self, body: bytes) -> bytes:
        head = (
            f"POST {self._target()} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    raise UnexpectedResponseError("expected a Content-Length")


class _PollingPeer(Peer):
    """One session's TCP connection."""

    __slots__ = ("session",)

    def __init__(self, connection: socket.socket, session: PollSession) -> None:
        super().__init__(connection)
        self.session = session


class PollingProcess(LoadProcess):
    """The loop over all sessions of one process. Each event is read in full."""

    def _dial(self, connection: socket.socket, query: str) -> tuple[Peer, bytes]:
        session = PollSession(self._orders.dialect, self._orders.port)
        return _PollingPeer(connection, session), session.begin(query)

    def _heard(self, peer: Peer, size: int) -> None:
        if not isinstance(peer, _PollingPeer):
            raise TypeError(f"expected a session, got {peer!r}")
        try:
            messages, request = peer.session.feed(bytes(self._buffer[:size]))
        except UnexpectedResponseError as refused:
            self._refusal = str(refused)
            self._close(peer)
            return
        if request:
            with contextlib.suppress(ConnectionError):
                peer.socket.send(request)
        if peer.session.is_open:
            self._opening.discard(peer)
        now = time.monotonic_ns()
        for message in messages:
            peer.counter.frame_bytes = len(message)
            if self._orders.sampling:
                self._note(peer, message, now)
            else:
                peer.counter.events += 1
                self._events += 1
