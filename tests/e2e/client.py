"""Clients like those of an application: a WebSocket and an event stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.messages import checked

SECONDS = 30.0

Fields = dict[str, Any]


class Socket:
    """A native client; keeps its messages in order of arrival."""

    def __init__(self, connection: ClientConnection, welcome: Fields) -> None:
        self.connection = connection
        self.welcome = welcome

    async def receive(self) -> Fields:
        """The next message that is no ping."""
        while True:
            text = await asyncio.wait_for(self.connection.recv(decode=True), SECONDS)
            message = checked(text)
            if message["kind"] != "ping":
                return message

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def events_until(self, type_: str) -> list[Fields]:
        """All events up to the first of that type, which only this test may publish."""
        events = []
        while True:
            message = await self.receive()
            assert message["kind"] == "event", message
            events.append(message)
            if message["type"] == type_:
                return events

    async def close_code(self) -> int:
        """Wait until the gateway closes; return its code."""
        await asyncio.wait_for(self.connection.wait_closed(), SECONDS)
        assert self.connection.close_code is not None
        return self.connection.close_code


@asynccontextmanager
async def opened(
    url: str, bearer: str | None = None, /, **query: str | list[str]
) -> AsyncIterator[Socket]:
    """A welcomed socket at a gateway; ``bearer`` goes into a header, the rest into the query."""
    address = (
        url.replace("http", "ws", 1) + "/ws" + (f"?{urlencode(query, doseq=True)}" if query else "")
    )
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    async with connect(
        address,
        subprotocols=[Subprotocol("clarion.v1")],
        additional_headers=headers,
        proxy=None,
    ) as connection:
        welcome = checked(await asyncio.wait_for(connection.recv(decode=True), SECONDS))
        assert welcome["kind"] == "welcome", welcome
        yield Socket(connection, welcome)


class EventStream:
    """A client of server-sent events that parses as the HTML standard says."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def receive(self) -> Fields:
        """The next event that is no ping: ``event``, ``id``, ``data`` (parsed)."""
        while True:
            event = await asyncio.wait_for(self._receive(), SECONDS)
            if event["event"] != "$ping":
                return event

    async def events_until(self, type_: str) -> list[Fields]:
        events = []
        while True:
            events.append(await self.receive())
            if events[-1]["event"] == type_:
                return events

    async def _receive(self) -> Fields:
        fields: Fields = {}
        data: list[str] = []
        async for line in self._lines:
            if line == "" and "event" in fields:
                return {**fields, "data": json.loads("\n".join(data))}
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            elif name:
                fields[name] = value.removeprefix(" ")
        raise AssertionError("the stream ended")


@asynccontextmanager
async def streamed(
    url: str,
    bearer: str | None = None,
    last_event_id: str | None = None,
    /,
    **query: str | list[str],
) -> AsyncIterator[EventStream]:
    """An open event stream at a gateway."""
    headers = {"Accept": "text/event-stream"}
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer}"
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with (
        httpx.AsyncClient(trust_env=False, timeout=SECONDS) as client,
        client.stream("GET", f"{url}/sse", params=query, headers=headers) as response,
    ):
        yield EventStream(response)
