"""Asks the backend about clients that connect and topics that they ask for; tells it of ends.

`clarion_gateway.clients.hooks` and `clarion_gateway.clients.grants` run these as they run the
application's own functions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.application.context import (
    ConnectContext,
    DisconnectContext,
    SubscribeContext,
)
from clarion_gateway.application.hooks import ConnectHook, DisconnectHook, Hook, SubscribeHook
from clarion_gateway.application.scope import Scope
from clarion_gateway.upstream.backend import UpstreamFailed
from clarion_gateway.upstream.exchange import Exchange

CONNECT: Final = "clarion.connect"
DISCONNECT: Final = "clarion.disconnect"
SUBSCRIBE: Final = "clarion.subscribe"
_TRUE: Final = b"true"
_NO: Final = (b"false", b"null")


class UpstreamHooks:
    """The hooks that lead to the backend.

    Attributes:
        connects, disconnects: for `clarion_gateway.clients.hooks.ConnectionHooks`.
        subscribes: for `clarion_gateway.clients.grants.Grants`.

    Args:
        wanted: out of ``connect``, ``disconnect`` and ``subscribe``.
        topics: patterns of those that the backend decides about.
    """

    def __init__(
        self, exchange: Exchange, wanted: Collection[str], topics: Sequence[str] = ()
    ) -> None:
        self._exchange = exchange
        scope = Scope()
        self.connects: Sequence[ConnectHook] = ()
        self.disconnects: Sequence[DisconnectHook] = ()
        if "connect" in wanted:
            self.connects = (Hook(self._connect, scope),)
        if "disconnect" in wanted:
            self.disconnects = (Hook(self._disconnect, scope),)
        self.subscribes: Sequence[SubscribeHook] = ()
        if "subscribe" in wanted:
            self.subscribes = [Hook(self._subscribe, scope, pattern=each) for each in topics]

    async def _connect(self, context: ConnectContext) -> None:
        """Ask whether a client may come in.

        Raises:
            Refusal: it may not.
            BusUnavailable: the backend cannot say now, so the client should come back.
            UpstreamFailed: the backend's answer is none.
        """
        fields = {"claims": context.claims, "query": context.query}
        if context.auth:
            fields["auth"] = context.auth
        data = msgspec.json.encode(fields)
        try:
            await self._exchange.ask(CONNECT, context, data)
        except UpstreamFailed as failed:
            if failed.passes:  # to the client, it is all the same what is away
                raise BusUnavailable("the application does not answer") from None
            raise

    async def _disconnect(self, context: DisconnectContext) -> None:
        data = msgspec.json.encode({"reason": context.reason, "code": context.code})
        await self._exchange.ask(DISCONNECT, context, data)

    async def _subscribe(self, context: SubscribeContext) -> bool:
        """Ask whether a client may hear a topic. Only a reply of ``true`` says so.

        A backend that answers every request with an empty object must not open every topic.

        Raises:
            Refusal: it may not, with the backend's reason; or the backend gives no answer.
            BusUnavailable: Redis does not take an event of the answer.
        """
        data = msgspec.json.encode({"topic": context.topic})
        try:
            reply = bytes(await self._exchange.ask(SUBSCRIBE, context, data)).strip()
        except UpstreamFailed as failed:
            raise failed.refusal() from None
        if reply != _TRUE and reply not in _NO:
            raise ValueError(
                f"expected a reply of true or false from the backend, got {reply!r:.64}"
            )
        return reply == _TRUE
