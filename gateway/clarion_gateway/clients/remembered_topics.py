"""Lets Redis hold the topics of connections whose clients may recover on another pod.

A topic is in Redis before its client is told that it hears the topic. So a client that was told
has it again, also if the pod is killed. One job writes, so that no older state comes after a newer
one. Events cost nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

import structlog

from clarion_contract.events.audience import Audience, may_subscribe
from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub

# So many connections are written at once: a few milliseconds of work.
_AT_ONCE: Final = 500
_AGAIN_SECONDS: Final = 1.0
# Redis forgets after so many times the time between two writes.
_WRITES_IN_TIME: Final = 3

_log = structlog.get_logger(__name__)


class Register(Protocol):
    """The part of `clarion_gateway.bus.recovery_topics.RecoveryTopics` that is used here."""

    async def write(self, topics: Mapping[str, Mapping[str, bool]]) -> None:
        """See `clarion_gateway.bus.recovery_topics.RecoveryTopics.write`."""
        ...

    async def read(self, connection: str) -> Mapping[str, bool] | None:
        """See `clarion_gateway.bus.recovery_topics.RecoveryTopics.read`."""
        ...


class RememberedTopics:
    """Writes the topics of this pod's connections, and reads those of any.

    Args:
        have_taken: whether one of some topics may have been taken from a user meanwhile.
        seconds: how long Redis keeps what is written.
    """

    def __init__(
        self,
        register: Register,
        hub: Hub,
        have_taken: Callable[[str | None, AbstractSet[str]], bool],
        *,
        seconds: float,
    ) -> None:
        self._register = register
        self._hub = hub
        self._have_taken = have_taken
        self._renew_seconds = seconds / _WRITES_IN_TIME
        self._changed: dict[Connection, asyncio.Future[None] | None] = {}
        self._coming: dict[Connection, list[Collection[Audience]]] = {}
        self._wake = asyncio.Event()

    async def read(self, connection: str, user: str | None) -> Mapping[str, bool] | None:
        """The topics of a connection that has ended, and whether its token granted each.

        None: they are not known, or an order may have taken one of them from it since.

        Raises:
            BusUnavailable: Redis does not answer.
        """
        topics = await self._register.read(connection)
        if topics is None or self._have_taken(user, topics.keys()):
            return None
        return topics

    @contextlib.contextmanager
    def coming(self, topics: Mapping[Connection, Collection[Audience]]) -> Iterator[None]:
        """Write topics with those of their connections, which do not hear them yet."""
        remembered = {each: more for each, more in topics.items() if more and recovers(each)}
        for connection, more in remembered.items():
            self._coming.setdefault(connection, []).append(more)
        try:
            yield
        except BaseException:
            for connection in remembered:
                self._change(connection)
            raise
        finally:
            for connection, more in remembered.items():
                self._coming[connection].remove(more)
                if not self._coming[connection]:
                    del self._coming[connection]

    async def save(self, connections: Iterable[Connection]) -> None:
        """Return when Redis holds the topics of connections, of those whose clients may recover.

        Raises:
            BusUnavailable: Redis does not answer. They are written later.
        """
        changed = [self._change(each) for each in connections if recovers(each)]
        if changed:
            await asyncio.gather(*map(asyncio.shield, changed))

    async def run(self) -> None:
        """Write what changes, and all of it again in time, for ever."""
        clock = asyncio.get_running_loop().time
        renew_at = clock() + self._renew_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(renew_at):
                    await self._wake.wait()
            self._wake.clear()
            if clock() >= renew_at:
                renew_at = clock() + self._renew_seconds
                for connection in self._hub.connections:
                    if connection.format.with_topics is connection.format:
                        self._changed.setdefault(connection, None)
            while self._changed:
                await self._write()

    def _change(self, connection: Connection) -> asyncio.Future[None]:
        future = self._changed.get(connection)
        if future is None:
            future = self._changed[connection] = asyncio.get_running_loop().create_future()
        self._wake.set()
        return future

    async def _write(self) -> None:
        some = list(self._changed)[:_AT_ONCE]
        waiting = {each: self._changed.pop(each) for each in some}
        topics = {each.id: self._topics(each) for each in some if each.state is not State.CLOSED}
        try:
            if topics:
                await self._register.write(topics)
        except BusUnavailable as error:
            _log.warning("topics for recoveries not written", reason=str(error))
            for connection, future in waiting.items():
                if connection.state is not State.CLOSED:
                    self._changed.setdefault(connection, None)
                if future is not None and not future.done():
                    future.set_exception(error)
                    future.exception()  # nobody may wait any more
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            for future in waiting.values():
                if future is not None and not future.done():
                    future.set_result(None)

    def _topics(self, connection: Connection) -> dict[str, bool]:
        coming = itertools.chain(*self._coming.get(connection, ()))
        audiences = itertools.chain(connection.asked, connection.given, coming)
        return {each.name: may_subscribe(connection.identity, each.name) for each in audiences}


def recovers(connection: Connection) -> bool:
    """Whether the client may recover with its topics."""
    return connection.format.with_topics is not None
