"""A client that follows events and resumes by itself after every lost connection.

It yields messages and prints nothing. It speaks the native protocol (docs/protocol.md) and sends
its position (`since`), so a resume neither loses nor repeats events, whichever gateway answers. A
gateway on a Redis Cluster may send events again; the client recognises them by their ids and drops
them.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from clarion_cli.address import is_local, websocket_url
from clarion_cli.failure import ExitCode, Failure

SUBPROTOCOL: Final = Subprotocol("clarion.v1")
BACKOFF_FIRST_SECONDS: Final = 0.25
BACKOFF_LAST_SECONDS: Final = 10.0
# A gateway answers within 10 s, by default, also when it cannot reach Redis.
OPEN_SECONDS: Final = 12.0
# A gateway sends a ping message in each interval. When two are missing, the connection is dead,
# although nothing has closed it.
_DEAF_AFTER_INTERVALS: Final = 2
# A token is renewed after this part of its life, so that it does not expire on a slow network.
_RENEW_AT: Final = 0.8
_RENEW_MIN_SECONDS: Final = 5.0

# Longer than the time span that a gateway may read again (docs/protocol.md, "No event twice").
_REMEMBERED_MICROSECONDS: Final = 60_000_000

_UNAUTHENTICATED: Final = 4401
# After one of these, the same client would only be closed again: docs/errors.md says "do not
# reconnect".
_FINAL_CODES: Final = frozenset({1002, 1003, 4400, 4403, 4413})
_FINAL_STATUS: Final = frozenset({400, 403, 404, 426})


@dataclass(frozen=True, slots=True)
class Message:
    """One message from the server.

    Attributes:
        text: as received.
        fields: the parsed text.
    """

    text: str
    fields: dict[str, Any]

    @property
    def kind(self) -> str:
        """``welcome``, ``event``, ``gap``, ``identity``, ``error``, …"""
        return str(self.fields.get("kind"))


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is lost; the next attempt follows after a wait."""

    url: str
    reason: str
    retry_seconds: float


class Follower:
    """Follows the events that one user, or an anonymous client, may see."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        token: Callable[[], str] | None = None,
        renewable: bool = True,
        since: str | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Follow one of ``urls``; after a loss, try the next one.

        Args:
            urls: of gateways, ``http`` or ``ws``.
            token: makes a token; None: follow anonymously.
            renewable: whether ``token`` can make a fresh token when the last one expires.
            since: resume after this position.
            jitter: returns a number between 0 and 1; spreads reconnects.
        """
        self._urls = [websocket_url(url) for url in urls]
        self._token = token
        self._renewable = renewable
        self._jitter = jitter
        self._failures = 0
        self._hint_seconds: float | None = None
        self._deaf_seconds: float | None = None
        self._silence: str | None = None
        self._connection: str | None = None
        # The connection that reached the position. Events that it sent must not come back to it.
        self._origin: str | None = None
        self._had = _Had()
        self.position = since

    async def follow(self) -> AsyncIterator[Message | Lost]:
        """All messages from the gateways, without end.

        Raises:
            Failure: the gateway will never accept this client.
        """
        turn = 0
        while True:
            url = self._urls[turn % len(self._urls)]
            self._hint_seconds = self._silence = self._deaf_seconds = None
            try:
                async with connect(
                    self._with_position(url),
                    subprotocols=[SUBPROTOCOL],
                    additional_headers=self._authorization(),
                    compression=None,
                    max_size=None,
                    open_timeout=OPEN_SECONDS,
                    proxy=None if is_local(url) else True,
                ) as socket:
                    async for message in self._receive(socket):
                        yield message
                reason = self._silence or _close_reason(socket)
                self._check_close(socket)
            except InvalidStatus as error:
                status = error.response.status_code
                self._check_status(url, status)
                reason = f"refused with status {status}"
            except InvalidURI:
                raise Failure(f"expected a gateway's URL, got {url}", ExitCode.USAGE) from None
            except ssl.SSLError as error:
                reason = f"TLS with {urlsplit(url).netloc} failed: {error.reason or error}"
            except OSError:
                reason = f"no gateway answers at {urlsplit(url).netloc}"
            except (InvalidHandshake, EOFError) as error:
                reason = str(error) or type(error).__name__
            wait = self._next_wait()
            yield Lost(url, reason, wait)
            await asyncio.sleep(wait)
            turn += 1

    async def _receive(self, socket: ClientConnection) -> AsyncIterator[Message]:
        """Yield messages until the connection closes, or is silent for too long.

        Renews the token before it expires.
        """
        now = asyncio.get_running_loop().time
        renew = self._token if self._renewable else None
        renew_at: float | None = None
        heard_at = now()
        while True:
            deaf_at = None if self._deaf_seconds is None else heard_at + self._deaf_seconds
            due = [at for at in (renew_at, deaf_at) if at is not None]
            try:
                async with asyncio.timeout_at(min(due, default=None)):
                    text = await socket.recv(decode=True)
            except TimeoutError:
                if deaf_at is not None and now() >= deaf_at:
                    self._silence = f"nothing heard for {self._deaf_seconds:g} s"
                    socket.transport.abort()  # nobody would answer a close frame
                    return
                renew_at = None
                if renew is not None:
                    await socket.send(json.dumps({"kind": "auth", "ref": 1, "token": renew()}))
                continue
            except ConnectionClosed:
                return
            heard_at = now()
            message = _read(text)
            self._note(message)
            expires_in = message.fields.get("expires_in")
            if renew is not None and expires_in is not None:
                renew_at = now() + max(_RENEW_MIN_SECONDS, expires_in * _RENEW_AT)
            if message.kind == "ping":
                continue
            if message.kind != "event" or self._had.add(
                int(message.fields["id"]), message.fields.get("topic")
            ):
                yield message

    def _note(self, message: Message) -> None:
        match message.kind:
            case "welcome":
                self._failures = 0
                interval = message.fields.get("ping_interval")  # gateways of 0.1 send none
                self._deaf_seconds = interval and _DEAF_AFTER_INTERVALS * interval
                self._connection = message.fields["connection"]
                self.position = message.fields["id"]
                if message.fields["resumed"] is not True:
                    self._origin = self._connection
            case "event" | "gap":
                self.position = message.fields["id"]
                self._origin = self._connection
            case "reconnect":
                self._hint_seconds = float(message.fields["after_ms"]) / 1000

    def _next_wait(self) -> float:
        """The wait that the gateway asked for, or else exponential with full jitter."""
        if self._hint_seconds is not None:
            return self._hint_seconds
        ceiling = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS * 2.0**self._failures)
        self._failures += 1
        return ceiling * self._jitter()

    def _with_position(self, url: str) -> str:
        if self.position is None:
            return url
        parts = urlsplit(url)
        query = [(k, v) for k, v in parse_qsl(parts.query) if k not in {"since", "connection"}]
        query.append(("since", self.position))
        if self._origin is not None:
            query.append(("connection", self._origin))
        return urlunsplit(parts._replace(query=urlencode(query)))

    def _authorization(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token()}"}

    def _check_close(self, socket: ClientConnection) -> None:
        code = socket.close_code
        if code in _FINAL_CODES or (code == _UNAUTHENTICATED and not self._renewable):
            raise Failure(
                f"the gateway closed the connection: {_close_reason(socket)}", ExitCode.REFUSED
            )
        if code == _UNAUTHENTICATED and self._failures > 0:
            raise Failure(
                f"the gateway does not accept the token: {_close_reason(socket)}", ExitCode.REFUSED
            )

    def _check_status(self, url: str, status: int) -> None:
        if status == 401:
            raise Failure(f"the gateway at {url} does not accept the token", ExitCode.REFUSED)
        if status == 404:
            raise Failure(
                f"{url} answers with status 404; is it a gateway's public port?",
                ExitCode.UNREACHABLE,
            )
        if status in _FINAL_STATUS:
            raise Failure(f"{url} refused the connection with status {status}", ExitCode.REFUSED)


def _read(text: str) -> Message:
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or "kind" not in fields:
        raise Failure(
            "the server speaks WebSocket, but not like a gateway of Clarion", ExitCode.UNREACHABLE
        )
    return Message(text, fields)


class _Had:
    """The ids of the events of the last minute, to recognise repetitions."""

    def __init__(self) -> None:
        self._ids: set[tuple[int, str | None]] = set()
        self._in_order: deque[tuple[int, str | None]] = deque()

    def add(self, id_: int, topic: str | None = None) -> bool:
        """Add an id. Returns whether it is new.

        Args:
            topic: the event's. On a cluster, events of two topics may have the same id.
        """
        if (id_, topic) in self._ids:
            return False
        self._ids.add((id_, topic))
        self._in_order.append((id_, topic))
        while self._in_order[0][0] < id_ - _REMEMBERED_MICROSECONDS:
            self._ids.discard(self._in_order.popleft())
        return True


def _close_reason(socket: ClientConnection) -> str:
    code, reason = socket.close_code, socket.close_reason
    if code is None or code == 1006:
        return "connection lost"
    return f"{code} {reason}".strip()
