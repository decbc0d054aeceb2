"""Leads clients' messages of some types to the backend, and its replies back.

To `clarion_gateway.clients.inbox`, the backend is a handler like others: it gets a message and its
context, and returns the reply's bytes. The messages of one connection come one at a time and in
order, as for all handlers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Raw

from clarion_gateway.application.answering import Route
from clarion_gateway.application.context import Context
from clarion_gateway.application.scope import Scope
from clarion_gateway.upstream.backend import UpstreamFailed
from clarion_gateway.upstream.exchange import Exchange

EVERY_TYPE: Final = "*"
MESSAGE: Final = "clarion.message"
"""The CloudEvent's type for a client's message; the message's own type is ``clariontype``."""


class UpstreamMessages:
    """The route of the messages that go to the backend.

    Args:
        types: of messages; ``*`` means each type that has no handler in the gateway.
    """

    def __init__(self, exchange: Exchange, types: Sequence[str]) -> None:
        self._exchange = exchange
        self._types = frozenset(types)
        self._every = EVERY_TYPE in self._types
        self._route = Route(self._call, bytes, (), Scope())

    def find(self, type_: str) -> Route | None:
        """The route of a message type; None: such messages do not go to the backend."""
        return self._route if self._every or type_ in self._types else None

    async def _call(self, data: bytes, context: Context) -> Raw:
        try:
            return await self._exchange.ask(MESSAGE, context, data, context.type)
        except UpstreamFailed as failed:
            raise failed.refusal() from None
