"""Rules that give CloudEvents their audience."""

from __future__ import annotations

import re

import pytest

from clarion_publisher.audience_rules import AudienceRules


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("shop.order.sent", "user:{subject}"),
        ("shop.order", None),
        ("shop.news", "all"),
        ("shop.news.sport", "topic:{subject}"),
        ("other", None),
    ],
)
def test_the_first_rule_that_covers_the_type_counts(type_: str, expected: str | None) -> None:
    rules = ["shop.order.*=user:{subject}", "shop.news = all", "shop.news.**=topic:{subject}"]
    assert AudienceRules.parse(rules).find(type_) == expected


def test_without_rules_there_is_no_audience() -> None:
    assert AudienceRules().find("order") is None


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("order", "expected rules such as order"),
        ("", "expected rules such as order"),
        ("a b=all", "expected a topic or a pattern"),
        ("order=everybody", "expected all, authenticated, user:<name> or topic:<name>"),
        ("order=user:", "expected a user id"),
        ("order=topic:a b", "expected a topic"),
        ("order=user:{id}", "expected {subject} as the only part in braces"),
        ("order=topic:{id}", "expected a topic"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        AudienceRules.parse(["news=all", rule])
