"""The limits of streams' logs: one for all, and rules that keep less of some topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clarion_contract.events.audience import Audience
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
        return self.of_stream(publication.audience)

    def of_stream(self, audience: Audience) -> LogLimits:
        """The limits of a stream's log."""
        if audience.kind != "topic" or not self.topics.topics:
            return LogLimits(self.max_events, self.max_age_seconds)
        rule = self.topics.of(audience.name)
        keep = 0 if rule.last_value is None else rule.last_value.max_age_seconds
        if rule.history is None:
            return LogLimits(1 if keep else 0, self.max_age_seconds, keep)
        return LogLimits(
            rule.history.max_events or self.max_events,
            rule.history.max_age_seconds or self.max_age_seconds,
            keep,
        )


class LogLimits(NamedTuple):
    """The limits of one log in Redis.

    Attributes:
        max_events: 0: events are not logged.
        keep_seconds: how long the newest events stay if none follows, if that is longer.
    """

    max_events: int
    max_age_seconds: int
    keep_seconds: int = 0
