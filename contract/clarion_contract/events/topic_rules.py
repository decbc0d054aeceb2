"""Rules for topics, by pattern: history, presence, last value.

Rules stand in a file that both services read (`clarion_contract.service.topic_rules_file`). The
first rule whose pattern covers a topic counts, and no other. Topics without a rule keep as much
history as every stream.

Pure values, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from clarion_contract.events.topic import check_pattern, covers

LONGEST_AGE: Final = "longest_age_seconds"
"""Of the validation's context: how long Redis remembers any stream. A rule may keep less."""
_HISTORY_EXPECTED: Final = "expected false, or a map of max_events and max_age_seconds"


def _history_or_none(value: object) -> object:
    """``false`` as None; a map is left to `TopicHistory`."""
    if value is False:
        return None
    if isinstance(value, Mapping | TopicHistory):
        return value
    raise ValueError(_HISTORY_EXPECTED)


def _presence_or_none(value: object) -> object:
    """``false`` as None, ``true`` as all defaults; a map is left to `TopicPresence`."""
    if value is False:
        return None
    if value is True:
        return {}
    if isinstance(value, Mapping | TopicPresence):
        return value
    raise ValueError("expected true, false, or a map of max_members")


def _last_value_or_none(value: object) -> object:
    """``false`` as None, ``true`` as all defaults; a map is left to `TopicLastValue`."""
    if value is False:
        return None
    if value is True:
        return {}
    if isinstance(value, Mapping | TopicLastValue):
        return value
    raise ValueError("expected true, false, or a map of max_age_seconds")


class TopicLastValue(BaseModel):
    """The way in which new subscribers get the newest event of a topic."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_age_seconds: int = Field(
        86_400,
        ge=1,
        le=30 * 86_400,
        description="How long Redis keeps the newest event, about, if history is shorter.",
    )


class TopicPresence(BaseModel):
    """The way in which clients are told of a topic's members."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_members: int = Field(
        100, ge=0, le=10_000, description="If there are more users, they are counted, not named."
    )


class TopicHistory(BaseModel):
    """The limits of a topic's history in Redis; None: those of every stream."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_events: int | None = Field(
        None, ge=1, le=10_000_000, description="How many events Redis keeps, about."
    )
    max_age_seconds: int | None = Field(
        None,
        ge=1,
        description="How long Redis keeps events, about; at most CLARION_HISTORY_MAX_AGE_SECONDS.",
    )

    @field_validator("max_age_seconds")
    @classmethod
    def _no_longer_than_streams(cls, value: int | None, info: ValidationInfo) -> int | None:
        """Else a reader could take the log of a forgotten topic for a whole one."""
        longest = (info.context or {}).get(LONGEST_AGE)
        if value is not None and longest is not None and value > longest:
            raise ValueError(
                f"expected at most CLARION_HISTORY_MAX_AGE_SECONDS ({longest}), got {value}"
            )
        return value


class TopicRule(BaseModel):
    """The rule for the topics that a pattern covers.

    Attributes:
        history: None: the events are delivered and not kept.
        presence: None: clients are not told who receives the topic.
        last_value: None: subscribers get nothing of the past that they do not ask for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pattern: Annotated[str, AfterValidator(check_pattern)] = Field(
        description="A topic or a pattern, such as order.* or cursor.**."
    )
    history: Annotated[
        TopicHistory | None,
        BeforeValidator(_history_or_none),
        WithJsonSchema({"anyOf": [{"const": False}, TopicHistory.model_json_schema()]}),
    ] = Field(
        TopicHistory(),
        description="How much of the topic's history Redis keeps; false: nothing.",
    )
    presence: Annotated[
        TopicPresence | None,
        BeforeValidator(_presence_or_none),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, TopicPresence.model_json_schema()]}),
    ] = Field(None, description="Whether clients are told who receives the topic.")
    last_value: Annotated[
        TopicLastValue | None,
        BeforeValidator(_last_value_or_none),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, TopicLastValue.model_json_schema()]}),
    ] = Field(None, description="Whether clients get the topic's newest event when they subscribe.")


EVERY_TOPIC: Final = TopicRule(pattern="**")
"""The rule for topics that no other rule covers."""


class TopicRules(BaseModel):
    """The rules of an installation, in order.

    Example: ``TopicRules(topics=[{"pattern": "cursor.**", "history": False}])``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topics: tuple[TopicRule, ...] = Field((), description="The first one that fits counts.")

    @property
    def have_last_values(self) -> bool:
        """Whether subscribers of some topics get the last value."""
        return any(rule.last_value for rule in self.topics)

    @property
    def have_presence(self) -> bool:
        """Whether some topics have presence."""
        return any(rule.presence for rule in self.topics)

    def of(self, topic: str) -> TopicRule:
        """The rule for a topic."""
        return _rule_of(self.topics, topic)


@lru_cache(maxsize=10_000)
def _rule_of(rules: tuple[TopicRule, ...], topic: str) -> TopicRule:
    return next((rule for rule in rules if covers(rule.pattern, topic)), EVERY_TOPIC)


NO_RULES: Final = TopicRules()
