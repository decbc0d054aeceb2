"""Three people use the chat on two gateways; every line shows what one of them sees.

Run it beside `make run`:

    .venv/bin/python -m clarion_examples.chat.session "$(.venv/bin/clarion token alice)" \\
        "$(.venv/bin/clarion token bob)"

The script ends with an error if anything is missing, doubled, or sent back to its sender.
"""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType
from typing import Any, Self

from clarion.client import Client, ClosedError, Event, NoAnswerError, Open, Status

GATEWAYS = ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
HEARS_SECONDS = 5.0
# Long enough for an unwanted event to arrive.
QUIET_SECONDS = 0.5


class Surprise(Exception):
    """The chat behaved differently than expected."""


class Person:
    """A person at one gateway."""

    def __init__(self, name: str, url: str, token: str | None) -> None:
        self.name = name
        self._client = Client(url, get_token=lambda _: token, on_status=self._tell)
        self._items = aiter(self._client)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await anext(self._items)  # says to fetch the state: the connection is open
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def send(self, type_: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send a message; return the reply's data."""
        self._say(f"sends  {type_} {data}")
        reply: dict[str, Any] = await self._client.send(type_, data)
        self._say(f"reply  {reply}")
        return reply

    async def hears(self, type_: str, data: dict[str, Any]) -> None:
        """Expect this event next."""
        event = await asyncio.wait_for(anext(self._items), HEARS_SECONDS)
        if not isinstance(event, Event) or (event.type, event.data) != (type_, data):
            raise Surprise(f"{self.name} expected {type_} {data}, got {event}")
        self._say(f"hears  {type_} {data}")

    async def hears_nothing(self) -> None:
        """Expect silence."""
        try:
            item = await asyncio.wait_for(anext(self._items), QUIET_SECONDS)
        except TimeoutError:
            self._say("hears  nothing more")
        else:
            raise Surprise(f"{self.name} expected silence, got {item}")

    def _tell(self, status: Status) -> None:
        if isinstance(status, Open):
            self._say(f"is at {status.pod} as {status.user or 'nobody in particular'}")

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
    except (Surprise, ClosedError, NoAnswerError, TimeoutError) as error:
        sys.exit(f"session failed: {error or type(error).__name__}")


if __name__ == "__main__":
    main()
