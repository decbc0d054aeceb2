"""Rules that give a CloudEvent its audience, where its producer cannot write one into it.

A rule is ``<type or pattern>=<audience>``, such as ``com.shop.order.*=user:{subject}``. The first
one that covers the event's type counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from clarion_contract.events.audience import UnknownKind, parse_audience
from clarion_contract.events.naming import InvalidName
from clarion_contract.events.topic import check_pattern, covers

SUBJECT: Final = "{subject}"


class AudienceRules:
    """The rules of a publisher.

    Example: ``AudienceRules.parse(["news.**=all"]).find("news.sport")`` is ``"all"``.
    """

    def __init__(self, rules: Sequence[tuple[str, str]] = ()) -> None:
        """Set up.

        Args:
            rules: patterns of types, each with the audience's text, which may hold `SUBJECT`.
        """
        self._rules = rules

    @classmethod
    def parse(cls, entries: Sequence[str]) -> Self:
        """The rules in some texts.

        Raises:
            ValueError: one of them is no rule.
        """
        return cls([_parsed(entry) for entry in entries])

    def find(self, type_: str) -> str | None:
        """The text of the audience for a type, with `SUBJECT` as it is; None: no rule covers it."""
        return next((text for pattern, text in self._rules if covers(pattern, type_)), None)


def _parsed(entry: str) -> tuple[str, str]:
    pattern, equals, text = (part.strip() for part in entry.partition("="))
    shown = repr(entry[:64])
    if not equals:
        raise ValueError(
            f"expected rules such as order.*=user:{SUBJECT}, with commas between, got {shown}"
        )
    try:
        check_pattern(pattern)
        parse_audience(text.replace(SUBJECT, "x"))
    except (InvalidName, UnknownKind) as error:
        raise ValueError(f"{shown}: {error}") from None
    if set("{}") & set(text.replace(SUBJECT, "")):
        raise ValueError(f"{shown}: expected {SUBJECT} as the only part in braces")
    return pattern, text
