"""The messages that a load client sends to each kind of server, as data: path, greeting, answers.

A dialect holds no state and does no I/O, so it can be passed to another process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

# Servers accept a key that is not random (RFC 6455, section 4.1, demands a random one only of
# clients). A constant makes a handshake cheaper for the load client.
_KEY = "Y2xhcmlvbi1iZW5jaC1rZQ=="
# Without context takeover no message depends on an earlier one, so a server can compress an event
# once and send the same frame to every socket.
_AGREED = ("permessage-deflate", "server_no_context_takeover")
_DEFLATE = "; ".join([*_AGREED, "client_no_context_takeover"])


@dataclass(frozen=True)
class Dialect:
    """The way in which a socket is opened and kept alive.

    `greeting` holds pairs: the first bytes of the next message after the handshake, and the answer
    to it (none if empty). A socket counts as open after the last of them. `answers` maps whole
    messages to their replies, for engine.io's own ping and pong. `polls` says that messages travel
    by HTTP requests instead of a WebSocket (see `polls.py`). `deflate` offers permessage-deflate,
    and a server must agree to it.
    """

    path: str
    subprotocol: str | None = None
    greeting: tuple[tuple[bytes, bytes], ...] = ()
    answers: Mapping[bytes, bytes] = field(default_factory=dict)
    polls: bool = False
    deflate: bool = False

    def request(self, port: int, query: str = "") -> bytes:
        """Return the handshake request to 127.0.0.1:`port`; `query` is appended to the path."""
        lines = [
            f"GET {self.path}{query} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {_KEY}",
            "Sec-WebSocket-Version: 13",
        ]
        if self.subprotocol:
            lines.append(f"Sec-WebSocket-Protocol: {self.subprotocol}")
        if self.deflate:
            lines.append(f"Sec-WebSocket-Extensions: {_DEFLATE}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def refusal(self, head: bytes) -> str:
        """Say why a socket cannot go on after this head of a response; empty: it can."""
        status, _, headers = head.decode(errors="replace").partition("\r\n")
        if " 101 " not in status[:16]:
            return status
        if self.deflate and not all(word in headers.lower() for word in _AGREED):
            return f"expected an agreement on {' and '.join(_AGREED)}, got {headers!r}"
        return ""


PLAIN = Dialect("/ws")
CLARION = Dialect("/ws", subprotocol="clarion.v1", greeting=((b'{"kind":"welcome"', b""),))
SOCKET_IO = Dialect(
    "/socket.io/?EIO=4&transport=websocket",
    greeting=((b"0{", b"40"), (b"40{", b"")),
    answers={b"2": b"3"},
)
PLAIN_DEFLATE = replace(PLAIN, deflate=True)
CLARION_DEFLATE = replace(CLARION, deflate=True)
SOCKET_IO_POLLING = replace(SOCKET_IO, path="/socket.io/?EIO=4&transport=polling", polls=True)
