"""Tells the backend of clients that connect, which it may refuse, and of connections that ended.

`clarion_gateway.clients.hooks` runs these as it runs the application's own functions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.application.context import ConnectContext, DisconnectContext
from clarion_gateway.application.hooks import ConnectHook, DisconnectHook, Hook
from clarion_gateway.application.scope import Scope
from clarion_gateway.upstream.backend import UpstreamFailed
from clarion_gateway.upstream.exchange import Exchange

CONNECT: Final = "clarion.connect"
DISCONNECT: Final = "clarion.disconnect"


class UpstreamHooks:
    """The hooks that lead to the backend.

    Attributes:
        connects, disconnects: for `clarion_gateway.clients.hooks.ConnectionHooks`.

    Args:
        wanted: out of ``connect`` and ``disconnect``.
    """

    def __init__(self, exchange: Exchange, wanted: Collection[str]) -> None:
        self._exchange = exchange
        scope = Scope()
        self.connects: Sequence[ConnectHook] = ()
        self.disconnects: Sequence[DisconnectHook] = ()
        if "connect" in wanted:
            self.connects = (Hook(self._connect, scope),)
        if "disconnect" in wanted:
            self.disconnects = (Hook(self._disconnect, scope),)

    async def _connect(self, context: ConnectContext) -> None:
        """Ask whether a client may come in.

        Raises:
            Refusal: it may not.
            BusUnavailable: the backend cannot say now, so the client should come back.
            UpstreamFailed: the backend's answer is none.
        """
        data = msgspec.json.encode({"claims": context.claims, "query": context.query})
        try:
            await self._exchange.ask(CONNECT, context, data)
        except UpstreamFailed as failed:
            if failed.passes:  # to the client, it is all the same what is away
                raise BusUnavailable("the application does not answer") from None
            raise

    async def _disconnect(self, context: DisconnectContext) -> None:
        data = msgspec.json.encode({"reason": context.reason, "code": context.code})
        await self._exchange.ask(DISCONNECT, context, data)
