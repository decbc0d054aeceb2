"""`clarion_contract.events.topic_rules`: the first rule that covers a topic counts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import ALL, topic_audience
from clarion_contract.events.event import Publication
from clarion_contract.events.topic_rules import EVERY_TOPIC, TopicRules


def rules(*topics: dict[str, Any]) -> TopicRules:
    return TopicRules.model_validate({"topics": list(topics)})


def test_the_first_that_covers_a_topic_counts() -> None:
    some = rules(
        {"pattern": "room.lobby"},
        {"pattern": "room.*", "history": False},
        {"pattern": "room.**", "history": {"max_events": 5}},
    )
    lobby, rooms, rest = some.topics
    assert some.of("room.lobby") == lobby
    assert some.of("room.attic") == rooms
    assert some.of("room.attic.chest") == rest
    assert some.of("order.42") == EVERY_TOPIC


@pytest.mark.parametrize(
    ("topic", "limits"),
    [
        ("cursor.a", (0, 600, 0)),
        ("price.eur", (100, 600, 0)),
        ("price.usd", (10_000, 30, 0)),
        ("order.42", (10_000, 600, 0)),
        ("state.a", (1, 600, 86_400)),
        ("flag.a", (10_000, 600, 3_600)),
    ],
)
def test_what_a_rule_leaves_open_is_as_for_every_stream(
    topic: str, limits: tuple[int, int, int]
) -> None:
    some = rules(
        {"pattern": "cursor.*", "history": False},
        {"pattern": "price.eur", "history": {"max_events": 100}},
        {"pattern": "price.*", "history": {"max_age_seconds": 30}},
        {"pattern": "state.*", "history": False, "last_value": True},
        {"pattern": "flag.*", "last_value": {"max_age_seconds": 3_600}},
    )
    history = HistoryLimits(10_000, 600, 60, some)
    assert history.of(Publication(topic_audience(topic), "t", b"1")) == limits
    without = Publication(topic_audience(topic), "t", b"1", history=False)
    assert history.of(without).max_events == 0
    assert history.of(Publication(ALL, "t", b"1")) == (10_000, 600, 0)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"pattern": "a..b"},
        {"pattern": 3},
        {"pattern": "a", "histroy": False},
        {"pattern": "a", "history": True},
        {"pattern": "a", "history": "none"},
        {"pattern": "a", "history": {"max_events": 0}},
        {"pattern": "a", "history": {"max_events": "5"}},
        {"pattern": "a", "history": {"max_age_seconds": 1.5}},
        {"pattern": "a", "history": {"age": 1}},
        {"pattern": "a", "last_value": "yes"},
        {"pattern": "a", "last_value": {"max_age_seconds": 0}},
        {"pattern": "a", "last_value": {"age": 1}},
    ],
)
def test_what_is_no_rule(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rules(rule)
