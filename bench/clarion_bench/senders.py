"""Clients that send messages to handlers: each sends its next one when it has its answer."""

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from clarion_bench.callers import CallError
from clarion_bench.dialects import Dialect
from clarion_bench.frames import FrameParser, Opcode, encode_client

_BUFFER_BYTES = 1 << 18
_ANSWER_SECONDS = 30.0
_REPLY = b'"kind":"reply"'
_ERROR = b'"kind":"error"'


@dataclass
class Sent:
    """The results of one run; `refusals` counts errors among the answers."""

    answered: int = 0
    refusals: int = 0
    latencies_ns: list[int] = field(default_factory=list, repr=False)


class _Sender:
    __slots__ = ("due", "parser", "sent_at", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.parser = FrameParser()
        self.sent_at = 0
        self.due = 0.0


class Senders:
    """WebSocket clients of one gateway, with at most one message under way each."""

    def __init__(self, port: int, dialect: Dialect, queries: Sequence[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._senders = [self._open(dialect.request(port, query), port) for query in queries]

    def run(self, type_: str, seconds: float, pause_seconds: float = 0.0) -> Sent:
        """Send messages of a type for this long; return without waiting for the last answers.

        Args:
            pause_seconds: between an answer and the next message of a client.
        """
        message = encode_client(Opcode.TEXT, _message(type_))
        sent = Sent()
        now = time.monotonic()
        until = now + seconds
        idle = [sender for sender in self._senders if not sender.sent_at]
        for index, sender in enumerate(idle):  # spread over the pause
            sender.due = now + pause_seconds * index / len(idle)
        while (now := time.monotonic()) < until:
            waiting = []
            for sender in idle:
                if sender.due <= now:
                    sender.sent_at = time.monotonic_ns()
                    sender.socket.sendall(message)
                else:
                    waiting.append(sender)
            idle = waiting
            soonest = min((sender.due for sender in idle), default=until)
            for key, _ in self._selector.select(max(0.0, min(soonest, until) - now)):
                if self._answered(key.data, sent):
                    key.data.due = time.monotonic() + pause_seconds
                    idle.append(key.data)
        return sent

    def settle(self) -> None:
        """Wait for the answers that are under way."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while any(sender.sent_at for sender in self._senders):
            if time.monotonic() > deadline:
                raise CallError(f"no answer in {_ANSWER_SECONDS:g} s")
            for key, _ in self._selector.select(1.0):
                self._answered(key.data, Sent())

    def close(self) -> None:
        """Close every connection."""
        for sender in self._senders:
            sender.socket.close()
        self._selector.close()

    def _open(self, request: bytes, port: int) -> _Sender:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._read(connection)
        sender = _Sender(connection)
        frames = sender.parser.feed(received.partition(b"\r\n\r\n")[2])
        while not frames:  # the welcome
            frames = sender.parser.feed(self._read(connection))
        self._selector.register(connection, selectors.EVENT_READ, sender)
        return sender

    def _answered(self, sender: _Sender, sent: Sent) -> bool:
        """Take incoming bytes; say whether the message under way has its answer."""
        done = False
        for frame in sender.parser.feed(self._read(sender.socket)):
            if frame.opcode == Opcode.CLOSE:
                raise CallError(f"the server closed a connection: {frame.close_reason}")
            refused = _ERROR in frame.payload
            if refused or _REPLY in frame.payload:
                sent.answered += 1
                sent.refusals += refused
                sent.latencies_ns.append(time.monotonic_ns() - sender.sent_at)
                sender.sent_at = 0
                done = True
        return done

    def _read(self, connection: socket.socket) -> bytes:
        data = connection.recv(_BUFFER_BYTES)
        if not data:
            raise CallError("the server closed a connection")
        return data


def _message(type_: str) -> bytes:
    return f'{{"kind":"message","ref":1,"type":"{type_}","data":{{"text":"hello"}}}}'.encode()
