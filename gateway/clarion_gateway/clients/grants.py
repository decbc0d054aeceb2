"""Asks the application about topics that clients' tokens do not grant (`Handlers.on_subscribe`).

`clarion_gateway.clients.admission` asks at a handshake and when another user logs in, and
`clarion_gateway.clients.memberships` when an open connection subscribes. A function that raises or
hangs refuses its one topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from clarion_contract.events.audience import topic_audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.topic import covers
from clarion_gateway.application.context import Host, SubscribeContext
from clarion_gateway.application.faults import at_the_applications_line
from clarion_gateway.application.hooks import SubscribeHook
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.clients.hooks import guarded
from clarion_gateway.clients.topics import Asked
from clarion_gateway.connections.connection import Connection
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.wire.format import RefusedTopic, by_namespace

_log = structlog.get_logger(__name__)


class Deciding(Protocol):
    """An owner of functions to ask, such as `clarion_gateway.application.handlers.Handlers`."""

    @property
    def namespaces(self) -> Mapping[str, Deciding]:
        """The owners of the functions for other namespaces than the main one, by name."""
        ...

    @property
    def subscribes(self) -> Sequence[SubscribeHook]:
        """The functions that decide about topics; the first whose pattern covers a topic does."""
        ...


class Grants:
    """The application's decisions about topics.

    Args:
        handlers: of the application.
        seconds: how long one decision may take.
    """

    def __init__(
        self, handlers: Deciding, host: Host, metrics: Metrics, *, pod: str, seconds: float
    ) -> None:
        owners = by_namespace(handlers, handlers.namespaces)
        self._hooks = {name: owner.subscribes for name, owner in owners.items()}
        self._host = host
        self._metrics = metrics
        self._pod = pod
        self._seconds = seconds

    async def ask(self, connection: Connection, user: str | None, asked: Asked) -> Asked:
        """Let the application decide about the topics that the token does not grant.

        Args:
            user: for whom the connection speaks, or is about to.
            asked: ``forbidden`` are the topics to decide about.

        Returns:
            The same, with those that the application grants, and those that it refuses.
        """
        hooks = self._hooks[connection.format.namespace]
        asking = {name: hook for name in asked.forbidden if (hook := _of(hooks, name))}
        if not asking:
            return asked
        decisions = await asyncio.gather(
            *(self._decide(hook, connection, user, name) for name, hook in asking.items())
        )
        by_name: dict[str, bool | Refusal] = dict(zip(asking, decisions, strict=True))
        granted = [topic_audience(name) for name, said in by_name.items() if said is True]
        return replace(
            asked,
            granted=(*asked.granted, *granted),
            forbidden=tuple(name for name in asked.forbidden if by_name.get(name, False) is False),
            refused=tuple(
                RefusedTopic(name, said.code, said.message)
                for name, said in by_name.items()
                if isinstance(said, Refusal)
            ),
        )

    def decides(self, connection: Connection, topic: str) -> bool:
        """Whether a function of the application decides about a topic."""
        return _of(self._hooks[connection.format.namespace], topic) is not None

    async def _decide(
        self, hook: SubscribeHook, connection: Connection, user: str | None, topic: str
    ) -> bool | Refusal:
        """Whether the application grants a topic, or why it refuses it."""
        context = SubscribeContext(
            connection.id, user, self._pod, self._host, hook.scope, connection, topic
        )
        decision: bool | Refusal = True
        outcome = "done"
        try:
            async with asyncio.timeout(self._seconds) as limit:
                said = await guarded(hook.call(context))
            if said is False:
                decision, outcome = False, "refused"
            elif said not in (None, True):
                raise TypeError(f"expected on_subscribe to return a bool or None, got {said!r:.64}")
        except Refusal as error:
            decision, outcome = error, "refused"
        except BusUnavailable:
            outcome = "unavailable"
            decision = Refusal(outcome, "the event bus is unavailable, try again")
        except Exception as error:  # noqa: BLE001 - the edge: the application's bug costs one topic
            if isinstance(error, TimeoutError) and limit.expired():
                outcome = "timeout"
                decision = Refusal(outcome, f"no decision within {self._seconds:g} seconds")
            else:
                outcome = "internal"
                decision = Refusal(outcome, "the application failed")
            _log.error(
                "on_subscribe failed",
                connection=connection.id,
                outcome=outcome,
                exc_info=at_the_applications_line(error),
            )
        self._metrics.hooks.labels("subscribe", outcome).inc()
        return decision


def _of(hooks: Iterable[SubscribeHook], topic: str) -> SubscribeHook | None:
    """The first function whose pattern covers a topic."""
    return next((hook for hook in hooks if covers(hook.pattern, topic)), None)
