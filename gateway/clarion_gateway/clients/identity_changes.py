"""Changes the identity of open connections, as their clients log in, refresh a token or log out.

`clarion_gateway.clients.inbox` calls it for each `auth` message, one at a time for a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from typing import Protocol

from clarion_contract.events.audience import Audience
from clarion_contract.events.errors import BusUnavailable, KeysUnavailable
from clarion_contract.identity.claims import Claims
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.recall import Recall
from clarion_gateway.clients.topics import Asked, Topics, heard, kept
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close, Refused
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import Identity
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.delivery.shares import Busy
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import TopicsHeard


class Joining(Protocol):
    """The part of `clarion_gateway.bus.subscription.Subscription` that is used here."""

    def joined(
        self, audiences: Collection[Audience]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep the pod subscribed to audiences while the context lasts."""
        ...


class IdentityChanges:
    """Gives open connections another identity.

    Args:
        wait_seconds: how long a client waits for the bus at most.
    """

    def __init__(  # noqa: PLR0913 - all that an identity touches, joined in parts.py
        self,
        hub: Hub,
        subscription: Joining,
        identification: Identification,
        users: UserLimits,
        topics: Topics,
        grants: Grants,
        recall: Recall,
        sweeper: Sweeper,
        metrics: Metrics,
        *,
        wait_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._hub = hub
        self._subscription = subscription
        self._identification = identification
        self._users = users
        self._topics = topics
        self._grants = grants
        self._recall = recall
        self._sweeper = sweeper
        self._metrics = metrics
        self._wait_seconds = wait_seconds
        self._clock = clock

    async def authenticate(self, connection: Connection, token: str | None, ref: bytes) -> None:
        """Log in, refresh or log out on an open connection.

        A token that is refused changes nothing: the client gets an error and stays who it was.

        Args:
            token: a JWT; None logs out.
            ref: of the client's message.
        """
        try:
            claims, identity, audiences = await self._identification.identify(
                token, connection.format.namespace
            )
            self._users.check(identity.user, connection.user)
            keeps = await self._kept(connection, identity)
            self._topics.check({*audiences, *keeps})
            new = [each for each in audiences if each.shown and each not in connection.audiences]
            past = self._recall.last_values(new)
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(self._wait_seconds):
                    await stack.enter_async_context(self._subscription.joined(audiences))
                # Else a round could still write events that were for the old identity.
                recalled = await stack.enter_async_context(
                    self._recall.between_rounds(connection, new, past, self._wait_seconds)
                )
                self._change(connection, claims, identity, keeps, ref)
                if recalled is not None:
                    self._recall.tell(connection, new, recalled)
        except Refused as refused:
            connection.write(connection.format.error(ref, *_refused_auth(refused.close)))
        except (TimeoutError, BusUnavailable, Busy, KeysUnavailable):
            connection.write(connection.format.error(ref, "unavailable", "try again"))

    async def _kept(self, connection: Connection, identity: Identity) -> Collection[Audience]:
        """Of the topics that a connection asked for, those that it hears under another identity.

        The application decides anew about those that it granted to another user.
        """
        keeps = kept(connection, identity)
        names = tuple(each.name for each in connection.asked if each not in keeps)
        again = await self._grants.ask(connection, identity.user, Asked(forbidden=names))
        return {*keeps, *again.granted}

    def _change(
        self,
        connection: Connection,
        claims: Claims | None,
        identity: Identity,
        keeps: Collection[Audience],
        ref: bytes,
    ) -> None:
        """Give a connection another identity, and tell the client; call it between two rounds."""
        if connection.state is State.CLOSED:
            return
        user, former = identity.user, connection.user
        self._users.check(user, former)  # again: others may have come meanwhile
        self._identification.check_revoked(claims)
        before = heard(connection)
        asked = tuple(each for each in connection.asked if each in keeps)
        self._hub.identify(connection, identity, asked)
        after = heard(connection) or (before and TopicsHeard(()))
        expires_in = identity.expires_in(self._clock())
        connection.write(connection.format.identity(ref, user, expires_in, after))
        self._sweeper.watch_expiry(connection)
        refresh = "login" if user != former else "refresh"
        self._metrics.identities.labels("logout" if user is None else refresh).inc()


def _refused_auth(close: Close) -> tuple[str, str]:
    """Code and message of the error for a log-in that is refused on an open connection."""
    unauthenticated = {close_codes.UNAUTHENTICATED.code, close_codes.BARRED.code}
    return "unauthenticated" if close.code in unauthenticated else close.label, close.reason
