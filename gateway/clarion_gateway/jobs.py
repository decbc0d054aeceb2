"""The background jobs of a gateway, by the names that they have in metrics and in readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from clarion_contract.service.readiness import HealthLog
from clarion_contract.service.supervisor import Job
from clarion_gateway.bus.recovery_key import RecoveryKey
from clarion_gateway.fleet.pod_deletion_cost import SERVICE_ACCOUNT, PodDeletionCost
from clarion_gateway.fleet.rebalancing import Rebalancing
from clarion_gateway.parts import Parts

ESSENTIAL: Final = frozenset({"subscription", "delivery", "keepalive"})
"""Without these a gateway cannot go on: if one fails for good, the pod drains and ends."""


def jobs_of(parts: Parts) -> dict[str, Job]:
    """The jobs of a gateway with these settings."""
    return {
        "subscription": parts.subscription.run,
        "delivery": parts.delivery.run,
        "keepalive": parts.sweeper.run,
        "health_log": HealthLog(parts.health).run,
        "publish_queue": parts.queue.run,
        "presence": parts.presence.run,
        "given_topics": parts.given_topics.run,
        "keys": parts.keys.run,
        "silent_texts": parts.silent_texts.run,
        "prune": _pruning(parts),
        **dict(_optional(parts)),
    }


def _optional(parts: Parts) -> Iterator[tuple[str, Job]]:
    """The jobs that run only if a setting asks for them."""
    settings = parts.settings
    if parts.answers.declared is not None:
        yield "catalogue", parts.answers.declared.run
    if settings.rules.have_presence:
        yield "topic_presence", parts.topic_presence.run
    if parts.transitions is not None:
        yield "transitions", parts.transitions.run
    if settings.socketio:
        yield "remembered_topics", parts.remembered_topics.run
        yield "recovery_key", RecoveryKey(parts.bus, settings.keyspace, parts.sessions.recovery).run
    if settings.rebalance:
        yield "rebalancing", _rebalancing(parts).run
    if settings.pod_deletion_cost:
        yield "pod_deletion_cost", _pod_deletion_cost(parts).run


def _rebalancing(parts: Parts) -> Rebalancing:
    return Rebalancing(
        parts.hub,
        lambda: parts.presence.pods,
        lambda: parts.health().sound,
        parts.inboxes.__contains__,
        parts.metrics,
        parts.settings,
    )


def _pod_deletion_cost(parts: Parts) -> PodDeletionCost:
    settings = parts.settings
    return PodDeletionCost(
        settings.pod,
        parts.hub.__len__,
        parts.metrics,
        interval_seconds=settings.pod_deletion_cost_interval_seconds,
        service_account=SERVICE_ACCOUNT,
    )


def _pruning(parts: Parts) -> Job:
    linger_seconds = parts.settings.linger_seconds

    async def prune() -> None:
        while True:
            await asyncio.sleep(max(1.0, linger_seconds / 4))
            parts.revocations.forget_ended()
            await parts.subscription.prune(parts.hub.named_streams, linger_seconds)

    return prune
