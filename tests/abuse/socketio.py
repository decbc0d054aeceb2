"""Honest clients of Socket.IO, by WebSocket and by long polling, for the oracle of the chaos tests."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.chaos.clients import Client, TurnedAway
from tests.chaos.revoking import team_of
from tests.chaos.session import Event, Gap, Session

_PATH = "/socket.io/?EIO=4&transport="
_ANSWER_SECONDS = 60.0


class _Wire(Protocol):
    """Packets of an open session of Engine.IO."""

    async def send(self, packet: str) -> None: ...

    async def receive(self) -> str: ...


@dataclass
class SocketIoClient(Client):
    """Recovers as socket.io-client does."""

    _pid: str = ""

    @abstractmethod
    def _opened(self) -> AbstractAsyncContextManager[_Wire]:
        """A new session."""

    async def _connection(self) -> None:
        async with self._opened() as wire:
            token = self._dial()
            auth: dict[str, Any] = {"recovery": True}
            if self._pid:
                auth |= {"pid": self._pid, "offset": str(self.position)}
            if token is not None:
                auth["token"] = token.signed
            await wire.send("40" + json.dumps(auth))
            answer = await wire.receive()
            if not answer.startswith("40"):
                raise TurnedAway(answer)
            session = self._welcomed(json.loads(answer[2:])["pid"])
            try:
                while True:
                    self._take(session, await wire.receive())
            except ConnectionClosed as closed:
                self._end(session, str(closed.rcvd.code if closed.rcvd else 1006))
            except (httpx.HTTPError, EOFError) as error:
                self._end(session, str(error))

    def _welcomed(self, pid: str) -> Session:
        """A pid names the position at which its connection began."""
        recovered = pid == self._pid if self._pid else None
        start = self.position if recovered else pid.split(".")[1]
        self._pid = pid
        # The answer names no topics. Those of the token are the client's.
        topics = [] if self.token is None else [team_of(self.token.user)]
        return self._begin(str(start), {"resumed": recovered, "topics": topics})

    def _take(self, session: Session, packet: str) -> None:
        name, data, offset = json.loads(packet.removeprefix("42"))
        if name == "$gap":
            self._note(session, Gap(int(offset)))
        else:
            self._note(session, Event(int(offset), int(data["number"])))


class _Socket:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, packet: str) -> None:
        await self._connection.send(packet)

    async def receive(self) -> str:
        while (packet := await self._connection.recv(decode=True)) == "2":
            await self.send("3")
        return packet


class BySocket(SocketIoClient):
    """By WebSocket alone."""

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[_Wire]:
        url = f"ws://{urlsplit(self.address()).netloc}{_PATH}websocket"
        async with connect(url, proxy=None, ping_interval=None, close_timeout=0.5) as connection:
            wire = _Socket(connection)
            assert (await wire.receive()).startswith("0")
            yield wire


class _Polls:
    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self._waiting: list[str] = []

    async def open(self) -> None:
        handshake = json.loads((await self._asked("GET"))[1:])
        self._url += f"&sid={handshake['sid']}"

    async def send(self, packet: str) -> None:
        await self._asked("POST", packet)

    async def receive(self) -> str:
        while True:
            while self._waiting:
                packet = self._waiting.pop(0)
                if packet == "2":
                    await self.send("3")
                elif packet == "1":
                    raise EOFError("closed")
                elif packet != "6":
                    return packet
            self._waiting = (await self._asked("GET")).split("\x1e")

    async def _asked(self, method: str, body: str | None = None) -> str:
        response = await self._client.request(method, self._url, content=body)
        return response.raise_for_status().text


class ByPolls(SocketIoClient):
    """By long polling alone."""

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[_Wire]:
        url = f"http://{urlsplit(self.address()).netloc}{_PATH}polling"
        async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            wire = _Polls(client, url)
            try:
                await wire.open()
            except httpx.HTTPError as error:
                raise TurnedAway(repr(error)) from None
            yield wire
