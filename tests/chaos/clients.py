"""Clients like those of applications: they lose their connection, return, and resume.

A seed draws each client's habits. Some log in and out, some stop reading for a while, some leave
without a word. They record what they receive, and `oracle` judges the records later.
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

from tests.chaos.handlers import TYPES
from tests.chaos.ledger import Entry, Ledger, number_of
from tests.chaos.moments import now_us
from tests.chaos.revoking import ROOMS, Token
from tests.chaos.session import Event, Gap, Heard, Identity, Session, Topics
from tests.integration.sockets import EventStream, Raw, Response

_WELCOME_SECONDS = 15.0
_BACK_SECONDS = (0.02, 0.4)
_SLOW_BUFFER_BYTES = 4_096

# Why event streams end, as the close codes of WebSockets.
_STREAM_ENDS = {
    "draining": "1012",
    "slow_consumer": "4408",
    "revoked": "4401",
    "disconnected": "4409",
}
_REVOKED = "4401"

# Fidgets now and then, and leaves the rest to chance.
_FIDGET_SECONDS = (0.3, 3.0)
_PAUSE_SECONDS = (0.5, 3.0)

_OTHER_ROOM_SHARE = 0.3
_LEAVE_SHARE = 0.4


class TurnedAway(Exception):
    """The gateway refused the client for the moment, so there is no `welcome`."""


@dataclass
class Client(ABC):
    """The common part of both kinds: a position, an identity, and the reconnects.

    Attributes:
        user: the user that the client logs in as; None: it stays anonymous.
        address: the gateway to which a load balancer would send the client now.
        calm: set when the client should only listen from now on.
        token: the token in use, until a gateway says that it is revoked.
        refused: tokens that a gateway called revoked during the handshake.
        roams: the topics that it wants change, when it connects and while it is connected.
        wanted: the topics that it names when it connects.
    """

    name: str
    user: str | None
    address: Callable[[], str]
    ledger: Ledger
    dice: random.Random
    calm: asyncio.Event
    sessions: list[Session] = field(default_factory=list)
    roams: bool = False
    wanted: set[str] = field(default_factory=set)
    turned_away: int = 0
    position: int | None = None
    token: Token | None = None
    refused: list[Token] = field(default_factory=list)
    _dialled_us: int = 0

    async def run(self) -> None:
        """Connect, listen and reconnect, for ever."""
        while True:
            try:
                await self._connection()
            except (OSError, EOFError, InvalidHandshake, ConnectionClosed, TurnedAway):
                self.turned_away += 1
            await asyncio.sleep(self.dice.uniform(*_BACK_SECONDS))

    @abstractmethod
    async def _connection(self) -> None:
        """Run one connection to its end."""

    def _dial(self) -> Token | None:
        """Choose the token for an attempt to connect: a fresh one if the last was revoked."""
        if self.user is None:
            self.token = None
        elif self.token is None or self.token.user != self.user:
            self.token = Token(self.user)
        self._dialled_us = now_us()
        if self.roams and not self.calm.is_set() and self.dice.random() < _OTHER_ROOM_SHARE:
            self.wanted ^= {self.dice.choice(ROOMS)}
        return self.token

    def _asked(self) -> frozenset[str]:
        """The topics to name: an anonymous client may have none."""
        return frozenset(self.wanted if self.token is not None else ())

    def _refuse_token(self) -> None:
        """A gateway said before `welcome` that the token is revoked."""
        assert self.token is not None
        self.refused.append(self.token)
        self.token = None

    def _end(self, session: Session, end: str) -> None:
        session.end = end
        if end == _REVOKED:
            self.token = None

    def _begin(self, id_: str, welcome: dict[str, Any]) -> Session:
        session = Session(self.position, int(id_), welcome["resumed"], self.user, token=self.token)
        session.asked = self._asked()
        session.topics = frozenset(welcome.get("topics", ()))
        session.not_resumed = frozenset(welcome.get("not_resumed", ()))
        session.dialled_us, session.welcomed_us = self._dialled_us, now_us()
        self.sessions.append(session)
        self.position = session.position
        return session

    def _note(self, session: Session, heard: Heard) -> None:
        session.heard.append(heard)
        self.position = session.position

    def _note_topics(self, session: Session, message: dict[str, Any], id_: str | None) -> None:
        """A ``subscribed``, which has an id, or an ``unsubscribed``, which has none."""
        before, named = session.last_topics, frozenset(message["topics"])
        if id_ is None:
            self._note(session, Topics(before - named))
        else:
            self._note(session, Topics(before | named, int(id_)))


class BreakableClient(Client):
    """A client whose network connection can break."""

    @abstractmethod
    def cut(self) -> None:
        """Break the client's connection now."""


@dataclass
class SocketClient(BreakableClient):
    """A client with a WebSocket.

    Attributes:
        slow: it stops reading now and then, with a small buffer in its kernel.
        commutes: a user that it logs in as and out of, in band; None: its identity stays.
        flees: it cuts its own connection now and then.
        talks: it sends messages to a handler that publishes its replies.
    """

    slow: bool = False
    commutes: str | None = None
    flees: bool = False
    talks: bool = False
    _open: ClientConnection | None = None
    _reading: asyncio.Event = field(default_factory=asyncio.Event)
    _connection_id: str = ""
    _wishes: dict[int, Token | None] = field(default_factory=dict)
    _said: dict[int, Entry] = field(default_factory=dict)
    _roams: dict[int, str] = field(default_factory=dict)

    def cut(self) -> None:
        if self._open is not None:
            self._open.transport.abort()

    async def _connection(self) -> None:
        url = self.address()
        async with self._dialled(url) as connection:
            try:
                async with asyncio.timeout(_WELCOME_SECONDS):
                    welcome = json.loads(await connection.recv(decode=True))
            except ConnectionClosed as closed:
                if _code(closed) == _REVOKED:
                    self._refuse_token()
                raise
            if welcome["kind"] == "reconnect":  # the pod began to drain meanwhile
                raise TurnedAway(welcome["reason"])
            assert welcome["kind"] == "welcome", welcome
            session = self._begin(welcome["id"], welcome)
            self._connection_id = welcome["connection"]
            self._open = connection
            self._reading.set()
            self._wishes.clear()
            self._said.clear()
            self._roams.clear()
            fidgeting = asyncio.create_task(self._fidget(connection, session))
            try:
                await self._listen(connection, session)
            except ConnectionClosed as closed:
                self._end(session, _code(closed))
            finally:
                self._open = None
                fidgeting.cancel()

    @contextlib.asynccontextmanager
    async def _dialled(self, url: str) -> AsyncIterator[ClientConnection]:
        query = {"connection": self._connection_id} if self._connection_id else {}
        if self.position is not None:
            query["since"] = str(self.position)
        token = self._dial()
        topics = [("topic", topic) for topic in sorted(self._asked())]
        headers = {} if token is None else {"Authorization": f"Bearer {token.signed}"}
        with socket.socket() as sock:
            if self.slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES)
            sock.setblocking(False)
            parts = urlsplit(url)
            assert parts.port is not None
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", parts.port))
            async with connect(
                f"ws://{parts.netloc}/ws?{urlencode([*query.items(), *topics])}",
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
                self.token = self._wishes.pop(message["ref"])
                self.user = None if self.token is None else self.token.user
                assert message["user"] == self.user, message
                self._note(session, Identity(self.user, frozenset(message.get("topics", ()))))
            elif kind in {"subscribed", "unsubscribed"}:
                self._note_topics(session, message, message.get("id"))
                self._heed(message)
            elif kind == "reply":
                self.ledger.replied(self._said.pop(message["ref"]))
            elif kind == "error":
                self._note_failure(message["ref"], message["code"])
            else:
                assert kind in {"reconnect", "ping"}, message

    def _note_failure(self, ref: int, code: str) -> None:
        """A message or a log-in could not be served at the moment."""
        if self._said.pop(ref, None) is not None or self._roams.pop(ref, None) is not None:
            assert code in {"unavailable", "timeout"}, code
            return
        wish = self._wishes.pop(ref)
        if code == "unauthenticated":  # revoked before it came in
            assert wish is not None
            self.refused.append(wish)
        else:
            assert code == "unavailable", code

    def _heed(self, message: dict[str, Any]) -> None:
        """The client's own wish has come true; a service's order changes no wishes."""
        topic = self._roams.pop(message["ref"], None)
        if topic is not None:
            # A room that a service has given to the user cannot be given up.
            assert [topic] in (message["topics"], message.get("kept")), message
            if message["kind"] == "subscribed":
                self.wanted.add(topic)
            else:
                self.wanted.discard(topic)

    async def _fidget(self, connection: ClientConnection, session: Session) -> None:
        ref = 0
        while not self.calm.is_set():
            await asyncio.sleep(self.dice.uniform(*_FIDGET_SECONDS))
            if self.slow:
                self._reading.clear()
                await asyncio.sleep(self.dice.uniform(*_PAUSE_SECONDS))
                self._reading.set()
            if self.commutes is not None and not self._wishes:
                ref += 1
                self._wishes[ref] = Token(self.commutes) if self.user is None else None
                await self._wish(connection, ref)
            if self.talks:
                ref += 1
                await self._say(connection, session, ref)
            if self.roams and self.user is not None and not self.calm.is_set():
                ref += 1
                await self._roam(connection, session, ref)
            if self.flees:
                connection.transport.abort()

    async def _wish(self, connection: ClientConnection, ref: int) -> None:
        wish = self._wishes[ref]
        token = None if wish is None else wish.signed
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps({"kind": "auth", "ref": ref, "token": token}))

    async def _roam(self, connection: ClientConnection, session: Session, ref: int) -> None:
        """Subscribe to a room, or give one up."""
        heard = sorted(session.last_topics & set(ROOMS))
        leaves = bool(heard) and self.dice.random() < _LEAVE_SHARE
        self._roams[ref] = topic = self.dice.choice(heard if leaves else ROOMS)
        kind = "unsubscribe" if leaves else "subscribe"
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps({"kind": kind, "ref": ref, "topics": [topic]}))

    async def _say(self, connection: ClientConnection, session: Session, ref: int) -> None:
        """Send a message once. A message has no key, so a retry could publish it twice."""
        type_, audience = self.dice.choice(list(TYPES.items()))
        entry = self.ledger.new(audience, sender=self.name)
        self.ledger.sent(entry)
        session.said.add(entry.number)
        self._said[ref] = entry
        data = {"number": entry.number}
        message = {"kind": "message", "ref": ref, "type": type_, "data": data}
        with contextlib.suppress(ConnectionClosed):
            await connection.send(json.dumps(message))


def _code(closed: ConnectionClosed) -> str:
    return str(closed.rcvd.code if closed.rcvd is not None else 1006)


@dataclass
class StreamClient(BreakableClient):
    """A client with an event stream."""

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
            if response.status == 401:
                self._refuse_token()
            if response.status != 200:
                raise TurnedAway(str(response))
            await self._listen(raw, response)
        finally:
            self._open = None
            writer.close()

    def _request(self, host: str) -> bytes:
        token = self._dial()
        fields: dict[str, Any] = {"Host": host, "Last-Event-ID": self.position}
        if token is not None:
            fields["Authorization"] = f"Bearer {token.signed}"
        query = urlencode([("topic", topic) for topic in sorted(self._asked())])
        lines = [f"GET /sse?{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _listen(self, raw: Raw, response: Response) -> None:
        stream = EventStream(raw, response)
        first = await stream.receive()
        if first.type != "$welcome":
            raise TurnedAway(first.data)
        session = self._begin(first.id, first.value)
        self._open = raw
        try:
            while True:
                event = await stream.receive()
                if event.type == "$gap":
                    self._note(session, Gap(int(event.id)))
                elif event.type == "$error":
                    self._end(session, _STREAM_ENDS.get(event.value["code"], event.data))
                elif event.type == "$subscribed":
                    self._note_topics(session, event.value, event.id)
                elif event.type == "$unsubscribed":
                    self._note_topics(session, event.value, None)
                elif event.type not in {"$reconnect", "$ping"}:
                    self._note(session, Event(int(event.id), number_of(event.data)))
        except (OSError, EOFError, TimeoutError):
            session.end = session.end or "1006"
