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
        # Each with the position that it stands for.
        self._items: deque[tuple[Item, str | None]] = deque()
        self._reached: str | None = None  # when the item that was given is processed
        self._changed = asyncio.Condition()
        self._ended = False

    async def put(self, item: Item) -> None:
        """Add an item."""
        await self._put(item, None if isinstance(item, Message) else item.id)

    async def put_past(self, event: Event) -> None:
        """Add an event of before the present position, which stays."""
        await self._put(event, None)

    async def _put(self, item: Item, position: str | None) -> None:
        async with self._changed:
            self._items.append((item, position))
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
        if self._reached is not None:
            self.position, self._reached = self._reached, None
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items) or self._ended)
            if not self._items:
                return None
            item, self._reached = self._items.popleft()
            self._changed.notify_all()
        return item
