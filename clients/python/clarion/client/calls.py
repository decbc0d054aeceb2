"""Messages that wait for the gateway's answer."""

from __future__ import annotations

import asyncio
from typing import Any

from clarion.client.errors import NoAnswerError, RefusalError
from clarion.client.messages import ServerMessage


class Calls:
    """The messages of one client, by their ``ref``."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[ServerMessage]] = {}
        self._last = 0

    @property
    def any_waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._waiting)

    def begin(self) -> tuple[int, asyncio.Future[ServerMessage]]:
        """A new ``ref``, and the future of its answer."""
        self._last += 1
        future: asyncio.Future[ServerMessage] = asyncio.get_running_loop().create_future()
        self._waiting[self._last] = future
        return self._last, future

    def forget(self, ref: int | None) -> None:
        """Nobody waits for this answer any more."""
        if ref is not None and (future := self._waiting.pop(ref, None)) is not None:
            future.cancel()

    def settle(self, message: ServerMessage) -> None:
        """Give an answer to whoever waits for it."""
        ref: Any = message.ref
        future = self._waiting.pop(ref, None) if isinstance(ref, int) else None
        if future is None or future.done():
            return
        if message.kind == "error":
            future.set_exception(RefusalError(message.code, message.message))
        else:
            future.set_result(message)

    def fail(self, reason: str) -> None:
        """No answer can come: the connection is lost."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(NoAnswerError(reason, sent=True))
        self._waiting.clear()
