"""A client of Engine.IO's long polling by which a test says and sees each request."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.integration.pod import SECONDS, Pod, eventually, token

PATH = "/socket.io/?EIO=4&transport=polling"
SEPARATOR = "\x1e"


class Poller:
    """One session. Pings are answered by themselves in `receive`."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client = client
        self.base = url
        self.handshake: dict[str, Any] = {}
        self._packets: list[str] = []

    @property
    def sid(self) -> str:
        return str(self.handshake["sid"])

    @property
    def url(self) -> str:
        return f"{self.base}&sid={self.sid}"

    async def open(self) -> None:
        answer = await self.client.get(self.base)
        assert answer.status_code == 200, answer.text
        assert answer.text[0] == "0"
        self.handshake = json.loads(answer.text[1:])

    async def get(self) -> httpx.Response:
        return await self.client.get(self.url)

    async def post(self, *packets: str) -> httpx.Response:
        return await self.client.post(self.url, content=SEPARATOR.join(packets))

    async def say(self, *packets: str) -> None:
        answer = await self.post(*packets)
        assert (answer.status_code, answer.text) == (200, "ok")

    async def receive(self) -> str:
        """The next packet that is no ping."""
        while True:
            while not self._packets:
                answer = await self.get()
                assert answer.status_code == 200, answer.text
                self._packets = answer.text.split(SEPARATOR)
            packet = self._packets.pop(0)
            if packet != "2":
                return packet
            await self.say("3")

    async def event(self) -> list[Any]:
        packet = await self.receive()
        assert packet.startswith("42"), packet
        return list(json.loads(packet[2:]))

    async def log_in(self, user: str | None = None, **auth: Any) -> str:
        """Send a CONNECT; returns the id of the connection."""
        if user is not None:
            auth["token"] = token(user)
        await self.say("40" + (json.dumps(auth) if auth else ""))
        packet = await self.receive()
        assert packet.startswith("40{"), packet
        return str(json.loads(packet[2:])["sid"])


async def keyed(pod: Pod) -> None:
    """Wait until a pod can sign the ids of sessions."""

    async def has_key() -> bool:
        return pod.gateway.sessions.recovery.key is not None

    await eventually(has_key, what="a key")


@contextlib.asynccontextmanager
async def browser(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=SECONDS, **options) as client:
        yield client


@contextlib.asynccontextmanager
async def polling(pod: Pod, url: str | None = None) -> AsyncIterator[Poller]:
    """A session without a connection."""
    await keyed(pod)
    async with browser() as client:
        poller = Poller(client, url or pod.url(PATH))
        await poller.open()
        yield poller


async def hanging(pod: Pod, poller: Poller) -> asyncio.Task[httpx.Response]:
    """A poll that hangs at the pod which has the session."""
    exchanges = pod.gateway.sessions.polled[poller.sid]._exchanges  # type: ignore[attr-defined]
    poll = asyncio.create_task(poller.get())

    async def hangs() -> bool:
        return poll.done() or exchanges.is_polled

    await eventually(hangs, what="a poll that hangs")
    assert not poll.done(), poll.result().text
    return poll
