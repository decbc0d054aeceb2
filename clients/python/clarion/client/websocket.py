"""One connection to a gateway by WebSocket: how it begins, is heard, and ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from clarion.client.connection import (
    OPEN_SECONDS,
    End,
    NotConnected,
    deaf_seconds,
    refused,
    unreachable,
)
from clarion.client.messages import ServerMessage, read_message
from clarion.local import is_local

SUBPROTOCOL: Final = Subprotocol("clarion.v1")
CLOSE_SECONDS: Final = 2.0
_ABNORMAL: Final = 1006
UPGRADE_REQUIRED: Final = 426
_json: Final = msgspec.json.Encoder()


class WebSocket:
    """An open socket. See `clarion.client.connection.Connection`."""

    sends = True
    subscribes = True
    identifies = True

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._deaf_seconds: float | None = OPEN_SECONDS  # until `welcome` says better
        self._silent = False

    def expect_pings(self, interval_seconds: float | None) -> None:
        """Give the connection up when two pings in a row are missing; None: no pings come."""
        self._deaf_seconds = deaf_seconds(interval_seconds)

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
            return End(_ABNORMAL, "connection lost", blocked=True)
        return End(code, f"{code} {reason}".strip())


@asynccontextmanager
async def by_websocket(
    url: str, token: str | None, tls: ssl.SSLContext | None
) -> AsyncIterator[WebSocket]:
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
        yield WebSocket(socket)
    finally:
        await socket.close()


def _failed(url: str, error: Exception) -> End:
    """The meaning of an exception of the handshake."""
    if isinstance(error, InvalidStatus):
        end = _refused(url, error)
        # A proxy has passed the request on without its upgrade.
        return replace(end, blocked=end.code == UPGRADE_REQUIRED)
    if isinstance(error, TimeoutError):
        return End(0, f"no answer from {urlsplit(url).netloc} in time", blocked=True)
    if isinstance(error, OSError):
        return unreachable(url, error)
    return End(0, str(error) or type(error).__name__, blocked=True)


def _refused(url: str, error: InvalidStatus) -> End:
    response = error.response
    after = response.headers.get("Retry-After", "")
    return refused(url, response.status_code, bytes(response.body or b""), after)
