"""The items that wait for the application, within a bound."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from clarion.client.items import Event, Message, Refresh

# Above this the client stops reading, so that a slow application is the gateway's slow consumer and
# resumes later; memory stays bounded.
MAX_ITEMS: Final = 1_000
# While the application waits for an answer, which stands behind events.
MAX_ITEMS_IN_A_HURRY: Final = 10 * MAX_ITEMS

Item = Event | Message | Refresh


class Inbox:
    """Items in their order, and the position of the one that the application works on."""

    def __init__(self, position: str | None) -> None:
        self.position = position
        self._items: deque[Item] = deque()
        self._given: Item | None = None
        self._changed = asyncio.Condition()
        self._ended = False

    async def put(self, item: Item) -> None:
        """Add an item."""
        async with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    async def room(self, in_a_hurry: Callable[[], bool]) -> None:
        """Wait until there is room. `hurry` makes the wait look again."""

        def has_room() -> bool:
            return len(self._items) < (MAX_ITEMS_IN_A_HURRY if in_a_hurry() else MAX_ITEMS)

        if not has_room():
            async with self._changed:
                await self._changed.wait_for(has_room)

    async def hurry(self) -> None:
        """Something behind the items is urgent."""
        async with self._changed:
            self._changed.notify_all()

    async def end(self) -> None:
        """No further item comes."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def get(self) -> Item | None:
        """The next item; None: there are no more. The item before it counts as processed."""
        if self._given is not None:
            if not isinstance(self._given, Message):
                self.position = self._given.id
            self._given = None
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items) or self._ended)
            if not self._items:
                return None
            self._given = self._items.popleft()
            self._changed.notify_all()
        return self._given
