"""What requests of each kind cost a service: CPU per request and per byte sent, memory while held.

One client, one request after the other, against pods that do nothing else. CPU is the kernel's count
of all threads of the process, less what it takes by itself. The table goes to docs/security.md.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.abuse.issuer import sign
from tests.abuse.kinds.tokens import forged
from tests.abuse.meter import Meter
from tests.abuse.pods import Pods
from tests.integration.sockets import BINARY, PING, TEXT, frame, request_of, text

_TIMES = 400
_WARM_UP = 20
_IDLE_SECONDS = 2.0
_HELD = 1_500
_EVENTS = 2_000
_EVENT_BYTES = 1_000
_EVENT = b'{"audience":{"user":"nobody"},"type":"t","data":1}'
_WELCOMED = b'"kind":"welcome"'
_CLOSED = None
_REFUSED = (4401).to_bytes(2, "big")  # in a close frame
_MALFORMED = (4400).to_bytes(2, "big")
_LATER = (1013).to_bytes(2, "big")
_WAITING_TIMES = 5  # each waits for the next look at the issuer's keys


@dataclass(frozen=True)
class Cost:
    """A row of the table.

    Attributes:
        service: whose cost is counted.
        data: what a client sends, each time.
        until: how the answer ends; None: the service closes the connection.
        opening: sent first, on a connection of its own or, where ``lasting``, on the one for all.
        welcomed: how the answer to that ends.
        holds: the connection stays, and its memory is counted.
    """

    name: str
    service: str
    data: Callable[[], bytes]
    until: bytes | None = _CLOSED
    opening: bytes = b""
    welcomed: bytes = _WELCOMED
    lasting: bool = False
    times: int = _TIMES
    holds: bool = False


class Peer:
    """The measuring client's side of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def exchange(self, data: bytes, until: bytes | None) -> None:
        """Send, and read the whole answer."""
        with contextlib.suppress(ConnectionError):  # it was refused before all of it was sent
            self._sock.sendall(data)
            seen = b""
            while piece := self._sock.recv(1 << 18):
                seen = seen[-64:] + piece
                if until is not None and until in seen:
                    return


def main() -> int:
    """Print the table."""
    print("| request | bytes sent | CPU, µs | CPU per byte sent, ns | memory while held, KB |")
    print("|---|---|---|---|---|")
    with _running() as pods:
        first = pods.fill(_EVENTS, _EVENT_BYTES)[0]
        last = _position(pods)
        for cost in [*_of_gateway(first, last), *_of_publisher(pods)]:
            print(_row(pods, cost), flush=True)
    with _running(GATEWAY_REPLAY_MAX_BYTES="0") as pods:
        first = pods.fill(_EVENTS, _EVENT_BYTES)[0]
        print(_row(pods, _resume("from Redis", first, _position(pods))))
    return 0


@contextlib.contextmanager
def _running(**changes: str) -> Iterator[Pods]:
    folder = Path(tempfile.mkdtemp(prefix="clarion-costs-"))
    pods = Pods(folder, **changes)
    with pods.running():
        yield pods
    shutil.rmtree(folder)


def _of_gateway(first: int, last: int) -> list[Cost]:
    signed = sign("mallory")
    key_ids = itertools.count()

    def cost(name: str, data: bytes | Callable[[], bytes], **more: object) -> Cost:
        return _cost("gateway", name, data, **more)

    def handshake(token: str | None = None, **headers: str) -> bytes:
        authorization = None if token is None else f"Bearer {token}"
        return request_of(headers={"Authorization": authorization, **headers})

    opened = handshake()
    ping = frame(PING)
    probe = request_of("/socket.io/?EIO=4&transport=websocket")
    connect, connected = frame(TEXT, b"40"), b'40{"sid"'

    def poll(query: str) -> bytes:
        path = f"/socket.io/?{query}&transport=polling"
        return f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()

    unfinished = frame(TEXT, b"a" * 60_000, fin=False)
    return [
        cost("no HTTP (400)", b"\x16\x03\x01\r\n\r\n"),
        cost("a head past its bound (431)", b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000),
        cost("an unknown path (404)", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        cost("a handshake of another website (403)", handshake(Origin="https://evil")),
        cost("a handshake, anonymous", opened, until=_WELCOMED, holds=True),
        cost("a handshake with a good ES256 token", handshake(signed), until=_WELCOMED),
        cost(
            "a handshake with a bad signature (4401)",
            handshake(signed[:-8] + "AAAAAAAA"),
            until=_REFUSED,
        ),
        cost(
            "a handshake with an unknown key (1013)",
            lambda: handshake(forged(next(key_ids))),
            until=_LATER,
            times=_WAITING_TIMES,
        ),
        cost(
            "an event stream, anonymous",
            b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n",
            until=b"$welcome",
            holds=True,
        ),
        cost("Socket.IO: a request of an earlier protocol (400)", poll("EIO=3")),
        cost("Socket.IO: a poll with a forged session (400)", poll("EIO=4&sid=" + "A" * 44)),
        cost(
            "Socket.IO: a session by polling, without a CONNECT",
            poll("EIO=4"),
            times=200,
        ),
        cost("Socket.IO: a session by WebSocket, without a CONNECT", probe, until=b"maxPayload"),
        cost("Socket.IO: a CONNECT, anonymous", probe + connect, until=connected),
        cost(
            "Socket.IO: a CONNECT to an unknown namespace",
            frame(TEXT, b"40/x,"),
            until=b"44/x,",
            opening=probe + connect,
            welcomed=connected,
            lasting=True,
            times=30,
        ),
        cost(
            "Socket.IO: a CONNECT, and 60,000 bytes of attachments without the last",
            frame(TEXT, b'452-["a",{"_placeholder":true,"num":0},1]')
            + frame(BINARY, bytes(60_000))
            + ping,
            until=b"\x8a",
            opening=probe + connect,
            welcomed=connected,
            holds=True,
        ),
        cost(
            "Socket.IO: text that is no packet (4400)",
            frame(TEXT, b"abc"),
            until=_MALFORMED,
            opening=probe + connect,
            welcomed=connected,
        ),
        _resume("from memory", first, last),
        cost("a ping", ping, until=b"\x8a", opening=opened, lasting=True, times=30),
        cost(
            "a message of an unknown type",
            text(kind="message", type="x", ref=1),
            until=b"unknown_type",
            opening=opened,
            lasting=True,
            times=30,
        ),
        cost(
            "a handshake, and a message of 60,000 bytes without its end",
            unfinished + ping,
            until=b"\x8a",
            opening=opened,
            holds=True,
        ),
    ]


def _resume(where: str, first: int, last: int) -> Cost:
    request = b"GET /sse?since=%d HTTP/1.1\r\nHost: a\r\n\r\n" % (first - 1)
    name = f"a resume of {_EVENTS:,} events of {_EVENT_BYTES:,} bytes {where}"
    return _cost("gateway", name, request, until=b"id: %d\n" % last, times=20)


def _of_publisher(pods: Pods) -> list[Cost]:
    service = pods.service_token("mallory")

    def cost(name: str, data: bytes, **more: object) -> Cost:
        return _cost("publisher", name, data, **more)

    def post(body: bytes, token: str | None = None) -> bytes:
        lines = [
            b"POST /v1/events HTTP/1.1",
            b"Host: a",
            b"Connection: close",
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            *([] if token is None else [b"Authorization: Bearer %b" % token.encode()]),
        ]
        return b"\r\n".join([*lines, b"", body])

    def chunked(framing: bytes) -> bytes:
        head = b"POST /v1/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + framing

    return [
        cost("no HTTP (400)", b"\x16\x03\x01\r\n\r\n"),
        cost("a head past its bound (431)", b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000),
        cost("an unknown path (404)", b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        cost("an event without a token (401)", post(_EVENT)),
        cost("8 MB without a token (401)", post(b"x" * 8_000_000), times=10),
        cost(
            "100 KB of trailers without a token", chunked(b"0\r\n" + b"a: b\r\n" * 16_000 + b"\r\n")
        ),
        cost("an event with a forged token (401)", post(_EVENT, forged(1))),
        cost("no JSON (400)", post(b"{", service)),
        cost("8 MB of no JSON (400)", post(b"[" + b"1," * 4_000_000, service), times=10),
        cost("an event to a user (201)", post(_EVENT, service)),
    ]


def _cost(service: str, name: str, data: bytes | Callable[[], bytes], **more: object) -> Cost:
    return Cost(name, service, data if callable(data) else lambda: data, **more)  # type: ignore[arg-type]


def _row(pods: Pods, cost: Cost) -> str:
    meter = pods.meters[cost.service]
    url = pods.gateway.url if cost.service == "gateway" else pods.publisher.url
    port = urlsplit(url).port or 0
    _repeat(port, cost, min(_WARM_UP, cost.times))
    idle = _idle_share(meter)
    began, spent = time.monotonic(), meter.cpu_seconds
    sent = _repeat(port, cost, cost.times)
    seconds = meter.cpu_seconds - spent - idle * (time.monotonic() - began)
    each_bytes = sent / cost.times
    each_us = max(0.0, seconds) / cost.times * 1e6
    held = f"{_held_kilobytes(meter, port, cost):.0f}" if cost.holds else ""
    cells = (
        f"{cost.service}: {cost.name}",
        f"{each_bytes:,.0f}",
        f"{each_us:,.0f}",
        f"{each_us * 1e3 / each_bytes:,.1f}",
        held,
    )
    return f"| {' | '.join(cells)} |"


def _idle_share(meter: Meter) -> float:
    """Of a core, for what the process does by itself."""
    began, spent = time.monotonic(), meter.cpu_seconds
    time.sleep(_IDLE_SECONDS)
    return (meter.cpu_seconds - spent) / (time.monotonic() - began)


def _repeat(port: int, cost: Cost, times: int) -> int:
    """Returns how many bytes were sent, openings apart."""
    sent = 0
    with contextlib.ExitStack() as stack:
        peer = None
        for _ in range(times):
            if peer is None or not cost.lasting:
                stack.close()
                peer = stack.enter_context(_opened(port, cost))
            data = cost.data()
            peer.exchange(data, cost.until)
            sent += len(data)
    return sent


@contextlib.contextmanager
def _opened(port: int, cost: Cost) -> Iterator[Peer]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Peer(sock)
        if cost.opening:
            peer.exchange(cost.opening, cost.welcomed)
        yield peer


def _held_kilobytes(meter: Meter, port: int, cost: Cost) -> float:
    """Of each of many connections that stay where the request has brought them."""
    with contextlib.ExitStack() as stack:
        before = meter.resident_bytes
        for _ in range(_HELD):
            stack.enter_context(_opened(port, cost)).exchange(cost.data(), cost.until)
        return max(0.0, (meter.resident_bytes - before) / _HELD / 1_024)


def _position(pods: Pods) -> int:
    """Of a client that comes now: the newest event's id."""
    port = urlsplit(pods.gateway.url).port or 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(request_of())
        seen = b""
        while (found := re.search(rb'"id":"(\d+)"', seen)) is None:
            seen += sock.recv(1 << 16)
        return int(found[1])
