"""Three people use the chat on two gateways; every line shows what one of them sees.

Run it beside `make run`:

    .venv/bin/python -m clarion_examples.chat.session "$(.venv/bin/clarion token alice)" \\
        "$(.venv/bin/clarion token bob)"

The script ends with an error if anything is missing, doubled, or sent back to its sender.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

GATEWAYS = ("ws://127.0.0.1:8001/ws", "ws://127.0.0.1:8002/ws")
REPLY_SECONDS = 5.0
# Long enough for an unwanted event to arrive.
QUIET_SECONDS = 0.5


class Surprise(Exception):
    """The chat behaved differently than expected."""


class Person:
    """A person at one gateway. Speaks the protocol of docs/protocol.md."""

    def __init__(self, name: str, url: str, token: str | None) -> None:
        self.name = name
        self._url = url
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._ref = 0
        self._socket: ClientConnection

    async def __aenter__(self) -> Self:
        self._socket = await connect(
            self._url,
            subprotocols=[Subprotocol("clarion.v1")],
            additional_headers=self._headers,
            proxy=None,
        )
        welcome = await self.receive()
        self._say(f"is at {welcome['pod']} as {welcome['user'] or 'nobody in particular'}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._socket.close()

    async def send(self, type_: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send a message; return the reply's data."""
        self._ref += 1
        message = {"kind": "message", "ref": self._ref, "type": type_, "data": data}
        await self._socket.send(json.dumps(message))
        self._say(f"sends  {type_} {data}")
        reply = await self.receive()
        if reply["kind"] != "reply" or reply["ref"] != self._ref:
            raise Surprise(f"{self.name} expected reply {self._ref}, got {reply}")
        self._say(f"reply  {reply['data']}")
        return dict(reply["data"])

    async def receive(self) -> dict[str, Any]:
        """The next message from the gateway."""
        text = await asyncio.wait_for(self._socket.recv(decode=True), REPLY_SECONDS)
        message: dict[str, Any] = json.loads(text)
        if message["kind"] == "event":
            self._say(f"hears  {message['type']} {message['data']}")
        return message

    async def hears(self, type_: str, data: dict[str, Any]) -> None:
        """Expect this event next."""
        event = await self.receive()
        if (event.get("type"), event.get("data")) != (type_, data):
            raise Surprise(f"{self.name} expected {type_} {data}, got {event}")

    async def hears_nothing(self) -> None:
        """Expect silence."""
        try:
            message = await asyncio.wait_for(self._socket.recv(decode=True), QUIET_SECONDS)
        except TimeoutError:
            self._say("hears  nothing more")
        else:
            raise Surprise(f"{self.name} expected silence, got {message!r}")

    def _say(self, what: str) -> None:
        print(f"{self.name:6} {what}", flush=True)


async def run(alice_token: str, bob_token: str, gateways: tuple[str, str] = GATEWAYS) -> None:
    """Run the session.

    Raises:
        Surprise: the chat behaved differently than expected.
    """
    first, second = gateways
    async with (
        Person("alice", first, alice_token) as alice,
        Person("bob", second, bob_token) as bob,
        Person("guest", second, None) as guest,
    ):
        said = await alice.send("chat.message", {"text": "Good morning"})
        await bob.hears("chat.message", said)
        await guest.hears("chat.message", said)

        whispered = await alice.send("chat.direct", {"to": "bob", "text": "Lunch?"})
        await bob.hears("chat.direct", whispered)

        for person in (alice, bob, guest):
            await person.hears_nothing()


def main() -> None:
    """Run the session with the tokens of alice and bob from the command line."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m clarion_examples.chat.session ALICE_TOKEN BOB_TOKEN")
    try:
        asyncio.run(run(sys.argv[1], sys.argv[2]))
    except (Surprise, OSError, TimeoutError) as error:
        sys.exit(f"session failed: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
