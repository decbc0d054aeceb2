"""The limits of streams' logs: one for all, and rules that keep less of some topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clarion_contract.events.event import Publication
from clarion_contract.events.topic_rules import NO_RULES, TopicRules


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """The limits of each stream's history, and of the time that idempotency keys are remembered.

    Attributes:
        topics: rules that keep less of some topics.
    """

    max_events: int
    max_age_seconds: int
    key_ttl_seconds: int
    topics: TopicRules = NO_RULES

    def of(self, publication: Publication) -> LogLimits:
        """The limits of the log that a publication goes to."""
        if not publication.history:
            return LogLimits(0, self.max_age_seconds)
        audience = publication.audience
        if audience.kind != "topic" or not self.topics.topics:
            return LogLimits(self.max_events, self.max_age_seconds)
        history = self.topics.of(audience.name).history
        if history is None:
            return LogLimits(0, self.max_age_seconds)
        return LogLimits(
            history.max_events or self.max_events,
            history.max_age_seconds or self.max_age_seconds,
        )


class LogLimits(NamedTuple):
    """The limits of one log in Redis.

    Attributes:
        max_events: 0: events are not logged.
    """

    max_events: int
    max_age_seconds: int
