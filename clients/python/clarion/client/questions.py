"""Answers the application's questions (`ask`): finds the function of a type, and runs it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from clarion.client.errors import RefusalError
from clarion.client.messages import ServerMessage
from clarion_gateway.application.codec import encode

_log = logging.getLogger("clarion.client")
Answerer = Callable[[Any], Any] | Callable[[Any], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[object]]


class Questions:
    """The functions that answer, by type of question, and the answers under way."""

    def __init__(self) -> None:
        self.answerers: dict[str, Answerer] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def answer(self, question: ServerMessage, send: Send) -> None:
        """Answer a question, in a task of its own: the next events do not wait for it."""
        task = asyncio.create_task(self._answer(question, send), name="clarion-answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """Give up the answers under way: their connection is lost."""
        for task in self._tasks:
            task.cancel()

    async def _answer(self, question: ServerMessage, send: Send) -> None:
        await send({"kind": "answer", "ref": question.ref, **await self._outcome(question)})

    async def _outcome(self, question: ServerMessage) -> dict[str, Any]:
        answerer = self.answerers.get(question.type)
        if answerer is None:
            return _error("unknown_type", f"nobody answers {question.type!r}")
        try:
            given = answerer(msgspec.json.decode(question.data))
            given = await given if inspect.isawaitable(given) else given
            return {"data": msgspec.Raw(encode(given))}
        except RefusalError as refusal:
            return _error(refusal.code, refusal.message)
        except Exception:  # noqa: BLE001 - the application's own; it is logged, and its asker told
            _log.exception("The answer to %r failed", question.type)
            return _error("internal", "the client failed")


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
