"""The answer to a request that is not complete, or that no further request may follow.

uvicorn alone would keep the connection open, or close it while the client still sends. So the
protocol holds the end back, and decides about it when the answer is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class HeldAnswer:
    """Stands in the place of an answer's transport.

    Attributes:
        keeps_alive: whether another request may follow the answer if it is let go before it begins.
    """

    def __init__(
        self,
        cycle: RequestResponseCycle,
        transport: asyncio.Transport,
        finish: Callable[[], None],
    ) -> None:
        """Hold the end of an answer back.

        Args:
            cycle: the request and its answer.
            finish: called when the answer is written, in place of closing the connection.
        """
        self.keeps_alive: bool = cycle.keep_alive
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = finish
        self._cycle = cycle
        self._transport = transport
        cycle.keep_alive = False
        cycle.transport = self  # type: ignore[assignment]  # it has what uvicorn uses

    def let_go(self) -> None:
        """The request is complete: leave the end to uvicorn, unless the answer has begun."""
        cycle = self._cycle
        if not cycle.response_started:
            cycle.transport = self._transport
            cycle.keep_alive = self.keeps_alive
