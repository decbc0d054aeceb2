"""Clients as applications have them: they lose their connection, come back, and resume.

Each has habits that a seed draws: some log in and out, some stop reading for a while, some leave
without a word. They note what they hear; `oracle` judges it later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from cli.token import Signer
from tests.chaos.ledger import number_of
from tests.chaos.session import Event, Gap, Heard, Identity, Session
from tests.integration.sockets import EventStream, Raw, Response

_WELCOME_SECONDS = 15.0
_TOKEN_SECONDS = 3_600
_BACK_SECONDS = (0.02, 0.4)
_SLOW_BUFFER_BYTES = 4_096

# Why event streams end, as the close codes of WebSockets.
_STREAM_ENDS = {"draining": "1012", "slow_consumer": "4408"}

# Fidgets now and then, and leaves the rest to chance.
_FIDGET_SECONDS = (0.3, 3.0)
_PAUSE_SECONDS = (0.5, 3.0)


class TurnedAway(Exception):
    """No `welcome`: the gateway said no, for the moment."""


@dataclass
class Client(ABC):
    """What both kinds share: a position, an identity, and the way back.

    Attributes:
        user: whom it wants to speak for; None: nobody.
        address: where a load balancer would send it now.
        calm: set when it should only listen from now on.
    """

    name: str
    user: str | None
    address: Callable[[], str]
    signer: Signer
    dice: random.Random
    calm: asyncio.Event
    sessions: list[Session] = field(default_factory=list)
    turned_away: int = 0
    position: int | None = None

    async def run(self) -> None:
        """Connect, listen, come back, for ever."""
        while True:
            try:
                await self._connection()
            except (OSError, EOFError, InvalidHandshake, ConnectionClosed, TurnedAway):
                self.turned_away += 1
            await asyncio.sleep(self.dice.uniform(*_BACK_SECONDS))

    @abstractmethod
    def cut(self) -> None:
        """Its connection breaks, now."""

    @abstractmethod
    async def _connection(self) -> None:
        """One connection, to its end."""

    def _token(self) -> str | None:
        if self.user is None:
            return None
        return self.signer.sign(self.user, expires_seconds=_TOKEN_SECONDS)

    def _begin(self, id_: str, resumed: bool | None) -> Session:
        session = Session(self.position, int(id_), resumed, self.user)
        self.sessions.append(session)
        self.position = session.position
        return session

    def _note(self, session: Session, heard: Heard) -> None:
        session.heard.append(heard)
        self.position = session.position


@dataclass
class SocketClient(Client):
    """A WebSocket.

    Attributes:
        slow: it stops reading now and then, with a small buffer in its kernel.
        commutes: the user that it becomes and ceases to be, in band; None: it stays who it is.
        flees: it cuts its own connection now and then.
    """

    slow: bool = False
    commutes: str | None = None
    flees: bool = False
    _open: ClientConnection | None = None
    _reading: asyncio.Event = field(default_factory=asyncio.Event)
    _connection_id: str = ""
    _wishes: dict[int, str | None] = field(default_factory=dict)

    def cut(self) -> None:
        if self._open is not None:
            self._open.transport.abort()

    async def _connection(self) -> None:
        url = self.address()
        async with self._dialled(url) as connection:
            async with asyncio.timeout(_WELCOME_SECONDS):
                welcome = json.loads(await connection.recv(decode=True))
            if welcome["kind"] == "reconnect":  # the pod began to drain meanwhile
                raise TurnedAway(welcome["reason"])
            assert welcome["kind"] == "welcome", welcome
            session = self._begin(welcome["id"], welcome["resumed"])
            self._connection_id = welcome["connection"]
            self._open = connection
            self._reading.set()
            self._wishes.clear()
            fidgeting = asyncio.create_task(self._fidget(connection))
            try:
                await self._listen(connection, session)
            except ConnectionClosed as closed:
                session.end = str(closed.rcvd.code if closed.rcvd is not None else 1006)
            finally:
                self._open = None
                fidgeting.cancel()

    @contextlib.asynccontextmanager
    async def _dialled(self, url: str) -> AsyncIterator[ClientConnection]:
        query = {"connection": self._connection_id} if self._connection_id else {}
        if self.position is not None:
            query["since"] = str(self.position)
        token = self._token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with socket.socket() as sock:
            if self.slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
            sock.setblocking(False)
            parts = urlsplit(url)
            assert parts.port is not None
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", parts.port))
            async with connect(
                f"ws://{parts.netloc}/ws?{urlencode(query)}",
                sock=sock.dup(),
                subprotocols=[Subprotocol("clarion.v1")],
                additional_headers=headers,
                proxy=None,
                ping_interval=None,
                open_timeout=_WELCOME_SECONDS,
                close_timeout=0.5,
                max_size=None,
                max_queue=2 if self.slow else 64,
            ) as connection:
                yield connection

    async def _listen(self, connection: ClientConnection, session: Session) -> None:
        while True:
            await self._reading.wait()
            message = json.loads(await connection.recv(decode=True))
            kind = message["kind"]
            if kind == "event":
                number = int(message["data"]["number"])
                self._note(session, Event(int(message["id"]), number))
            elif kind == "gap":
                self._note(session, Gap(int(message["id"])))
            elif kind == "identity":
                self.user = self._wishes.pop(message["ref"])
                assert message["user"] == self.user, message
                self._note(session, Identity(self.user))
            elif kind == "error":  # the log-in could not be served just now
                assert message["code"] == "unavailable", message
                self._wishes.pop(message["ref"])
            else:
                assert kind == "reconnect", message

    async def _fidget(self, connection: ClientConnection) -> None:
        ref = 0
        while not self.calm.is_set():
            await asyncio.sleep(self.dice.uniform(*_FIDGET_SECONDS))
            if self.slow:
                self._reading.clear()
                await asyncio.sleep(self.dice.uniform(*_PAUSE_SECONDS))
                self._reading.set()
            if self.commutes is not None and not self._wishes:
                ref += 1
                self._wishes[ref] = self.commutes if self.user is None else None
                await self._wish(connection, ref)
            if self.flees:
                connection.transport.abort()

    async def _wish(self, connection: ClientConnection, ref: int) -> None:
        wish = self._wishes[ref]
        token = None if wish is None else self.signer.sign(wish, expires_seconds=_TOKEN_SECONDS)
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps({"kind": "auth", "ref": ref, "token": token}))


@dataclass
class StreamClient(Client):
    """An event stream."""

    _open: Raw | None = None

    def cut(self) -> None:
        if self._open is not None:
            self._open.abort()

    async def _connection(self) -> None:
        parts = urlsplit(self.address())
        reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
        raw = Raw(reader, writer)
        try:
            await raw.send(self._request(parts.netloc))
            response = await raw.response()
            if response.status != 200:
                raise TurnedAway(str(response))
            await self._listen(raw, response)
        finally:
            self._open = None
            writer.close()

    def _request(self, host: str) -> bytes:
        token = self._token()
        fields: dict[str, Any] = {"Host": host, "Last-Event-ID": self.position}
        if token is not None:
            fields["Authorization"] = f"Bearer {token}"
        lines = ["GET /sse HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _listen(self, raw: Raw, response: Response) -> None:
        stream = EventStream(raw, response)
        first = await stream.receive()
        if first.type != "$welcome":
            raise TurnedAway(first.data)
        session = self._begin(first.id, first.value["resumed"])
        self._open = raw
        try:
            while True:
                event = await stream.receive()
                if event.type == "$gap":
                    self._note(session, Gap(int(event.id)))
                elif event.type == "$error":
                    session.end = _STREAM_ENDS.get(event.value["code"], event.data)
                elif event.type != "$reconnect":
                    self._note(session, Event(int(event.id), number_of(event.data)))
        except (OSError, EOFError, TimeoutError):
            session.end = session.end or "1006"
