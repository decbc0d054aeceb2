"""One connection to a gateway: how it begins, is heard, and ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from clarion.client.messages import ServerMessage, read_message
from clarion.local import is_local

SUBPROTOCOL: Final = Subprotocol("clarion.v1")
# A gateway answers within GATEWAY_HANDSHAKE_SECONDS, 10 by default, also without Redis.
OPEN_SECONDS: Final = 12.0
CLOSE_SECONDS: Final = 2.0
# A gateway sends a ping message in each interval. When two are missing, the connection is dead,
# although nothing has closed it.
_DEAF_AFTER_INTERVALS: Final = 2
_ABNORMAL: Final = 1006
_json: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection ended, or did not come about.

    Attributes:
        code: a close code or an HTTP status; 0: nothing came through; ``not_a_gateway``.
        after_seconds: the server's wish: wait so long.
    """

    code: int | str
    reason: str
    after_seconds: float | None = None


class NotConnected(Exception):
    """There is no connection; ``end`` says why."""

    def __init__(self, end: End) -> None:
        super().__init__(end.reason)
        self.end = end


class Connection:
    """An open socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._deaf_seconds: float | None = OPEN_SECONDS  # until `welcome` says better
        self._silent = False

    def expect_pings(self, interval_seconds: float | None) -> None:
        """Give the connection up when two pings in a row are missing; None: no pings come."""
        self._deaf_seconds = _DEAF_AFTER_INTERVALS * interval_seconds if interval_seconds else None

    async def send(self, fields: dict[str, Any]) -> None:
        """Send a message, if the connection is still there: its end fails all calls anyway."""
        try:
            await self._socket.send(_json.encode(fields).decode())
        except ConnectionClosed:
            return

    async def receive(self) -> tuple[ServerMessage, str] | None:
        """The next message and its text; None: the connection has ended.

        Raises:
            NotAGateway: something else speaks WebSocket.
        """
        try:
            async with asyncio.timeout(self._deaf_seconds):
                text = await self._socket.recv(decode=True)
        except TimeoutError:
            self._silent = True
            self._socket.transport.abort()  # nobody would answer a close frame
            return None
        except ConnectionClosed:
            return None
        return read_message(text), text

    async def close(self) -> None:
        """End the connection."""
        await self._socket.close()

    @property
    def end(self) -> End:
        """Why it has ended."""
        if self._silent:
            return End(0, f"nothing heard for {self._deaf_seconds:g} s")
        code, reason = self._socket.close_code, self._socket.close_reason
        if code is None or code == _ABNORMAL:
            return End(_ABNORMAL, "connection lost")
        return End(code, f"{code} {reason}".strip())


@asynccontextmanager
async def connected(
    url: str, token: str | None, tls: ssl.SSLContext | None
) -> AsyncIterator[Connection]:
    """An open connection until the context ends.

    Raises:
        NotConnected: there is none.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        socket = await connect_socket(
            url,
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            compression=None,
            max_size=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,  # the gateway's pings count
            proxy=None if is_local(url) else True,
            ssl=(tls or True) if url.startswith("wss:") else None,
        )
    except (OSError, EOFError, InvalidHandshake) as error:
        raise NotConnected(_failed(url, error)) from None
    try:
        yield Connection(socket)
    finally:
        await socket.close()


def _failed(url: str, error: Exception) -> End:
    """The meaning of an exception of the handshake."""
    host = urlsplit(url).netloc
    if isinstance(error, InvalidStatus):
        return _refused(url, error)
    if isinstance(error, ssl.SSLError):
        return End(0, f"TLS with {host} failed: {error.reason or error}")
    if isinstance(error, OSError):
        return End(0, f"no gateway answers at {host}")
    return End(0, str(error) or type(error).__name__)


def _refused(url: str, error: InvalidStatus) -> End:
    response = error.response
    status = response.status_code
    try:
        detail = msgspec.json.decode(response.body or b"", type=_Refusal).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = "is it a gateway's public port?" if status == 404 else ""
    reason = f"{url.partition('?')[0]} refused with status {status}"
    after = response.headers.get("Retry-After", "")
    return End(
        status,
        f"{reason}: {detail}" if detail else reason,
        float(after) if after.isdecimal() else None,
    )


class _Refusal(msgspec.Struct):
    """The body of a gateway's refusal (RFC 9457)."""

    detail: str = ""
