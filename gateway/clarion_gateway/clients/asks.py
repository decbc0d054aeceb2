"""Questions of the application that wait for the answers of clients.

An answer does not wait in its connection's inbox: the handler that asked would wait for a message
behind its own. `clarion_gateway.clients.inbox` hands answers over as they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from clarion_gateway.application.refusal import AskFailed
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.messages import Answer
from clarion_gateway.wire.parts import Parts


def _tell_nobody(connection: Connection) -> None:
    """Do nothing; the initial value of `Asks.changed`."""


class Asks:
    """The questions under way, by connection.

    Attributes:
        changed: called when a connection gets its first question, or loses its last one.

    Args:
        max_per_connection: how many questions may wait for one client.
    """

    def __init__(self, metrics: Metrics, *, max_per_connection: int) -> None:
        self.changed: Callable[[Connection], None] = _tell_nobody
        self._metrics = metrics
        self._max = max_per_connection
        self._pending: dict[Connection, dict[bytes, asyncio.Future[bytes]]] = {}
        self._last = 0

    def __contains__(self, connection: Connection) -> bool:
        """Whether a question waits for the connection's client."""
        return connection in self._pending

    async def ask(
        self,
        connection: Connection,
        type_: str,
        data: bytes,
        seconds: float,
        parts: Parts | None = None,
    ) -> bytes:
        """Ask a client, and return the data of its answer.

        Args:
            data: JSON.
            seconds: to wait for the answer.
            parts: see `clarion_gateway.wire.format.WireFormat.ask`.

        Raises:
            AskFailed: there is no answer.
        """
        try:
            answer = await self._ask(connection, type_, data, seconds, parts)
        except AskFailed as failed:
            self._metrics.asks.labels(failed.code.replace("ask_", "")).inc()
            raise
        self._metrics.asks.labels("answered").inc()
        return answer

    def answered(self, connection: Connection, answer: Answer) -> None:
        """Take an answer. One that comes too late, or that nobody asked for, is only counted."""
        future = self._pending.get(connection, {}).get(answer.ref)
        if future is None or future.done():
            self._metrics.asks.labels("unasked").inc()
        elif answer.refusal is None:
            future.set_result(answer.data)
        else:
            future.set_exception(AskFailed("ask_refused", answer.refusal))

    def forget(self, connection: Connection) -> None:
        """Fail the questions to a connection that has ended."""
        for future in self._pending.pop(connection, {}).values():
            if not future.done():
                future.set_exception(_closed())

    async def _ask(
        self,
        connection: Connection,
        type_: str,
        data: bytes,
        seconds: float,
        parts: Parts | None,
    ) -> bytes:
        if connection.state is State.CLOSED:
            raise _closed()
        if connection.state is not State.LIVE:
            raise AskFailed("ask_too_early", "expected a client that has been welcomed")
        self._last += 1
        ref = b"%d" % self._last
        question = connection.format.ask(ref, type_, data, parts)
        if not question:
            raise AskFailed("ask_unsupported", "expected a client that can send, got a stream")
        pending = self._pending.get(connection, {})
        if len(pending) >= self._max:
            raise AskFailed("too_many_asks", f"expected at most {self._max} questions at a time")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        pending[ref] = future
        if connection not in self._pending:
            self._pending[connection] = pending
            self.changed(connection)
        try:
            connection.write(question)
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise AskFailed("ask_timeout", f"no answer within {seconds:g} seconds") from None
        finally:
            self._end(connection, pending, ref)

    def _end(
        self, connection: Connection, pending: dict[bytes, asyncio.Future[bytes]], ref: bytes
    ) -> None:
        del pending[ref]
        if not pending and self._pending.get(connection) is pending:
            del self._pending[connection]
            self.changed(connection)


def _closed() -> AskFailed:
    return AskFailed("ask_closed", "the connection has ended")
