"""The names of topics, and the patterns that stand for many of them.

A topic's name has segments joined by dots: ``order.42``. In a pattern a segment may be ``*``, which
stands for one segment, and the last one ``**``, which stands for one or more. Patterns stand in
scopes and in tokens, never in an event or a subscription, so publishing looks for no patterns.

Pure values, no I/O.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from clarion_contract.events.naming import InvalidName, Naming

TOPIC_MAX_CHARACTERS: Final = 128

_SEGMENT: Final = r"[A-Za-z0-9_:@/#=+~-]+"
# In the OpenAPI document, so only syntax that the regular expressions of every language have.
TOPIC_REGEX: Final = rf"^{_SEGMENT}(\.{_SEGMENT})*$"

_TOPIC: Final = re.compile(TOPIC_REGEX)
_PATTERN: Final = re.compile(
    rf"\*\*|(?:{_SEGMENT}|\*)(?:\.(?:{_SEGMENT}|\*))*(?:\.\*\*)?",
)
_RULE: Final = (
    f"1 to {TOPIC_MAX_CHARACTERS} characters out of A-Z a-z 0-9 _ - : @ / # = + ~, in segments "
    "joined by dots"
)
_SHOWN_MAX_CHARACTERS: Final = 64


class InvalidTopic(InvalidName):
    """A text that is no topic's name, or no pattern of topics."""


def check_topic(name: str) -> str:
    """Return ``name`` unchanged if it can name a topic.

    Raises:
        InvalidTopic: it has other characters, an empty segment, or is too long.

    Example: ``check_topic("order.42")``.
    """
    if len(name) > TOPIC_MAX_CHARACTERS or not _TOPIC.fullmatch(name):
        raise InvalidTopic(f"expected a topic of {_RULE}, got {_shown(name)}")
    return name


def check_pattern(pattern: str) -> str:
    """Return ``pattern`` unchanged if it is a pattern of topics; a name is one too.

    Raises:
        InvalidTopic: it is not.

    Example: ``check_pattern("order.*")``.
    """
    if len(pattern) > TOPIC_MAX_CHARACTERS or not _PATTERN.fullmatch(pattern):
        raise InvalidTopic(
            f"expected a topic or a pattern of {_RULE}, where a segment may be * and the last **, "
            f"got {_shown(pattern)}"
        )
    return pattern


def covers(pattern: str, name: str) -> bool:
    """Whether a pattern covers a topic; a text that is no pattern covers none.

    Example: ``covers("order.*", "order.42")`` and ``covers("order.**", "order.42.lines")`` are
    true; ``covers("order.*", "order.42.lines")`` and ``covers("order.**", "order")`` are not.
    """
    regex = _compiled(pattern)
    return regex is not None and regex.fullmatch(name) is not None


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        check_pattern(pattern)
    except InvalidTopic:
        return None
    regexes = {"*": r"[^.]+", "**": r".+"}
    return re.compile(
        r"\.".join(regexes.get(segment, re.escape(segment)) for segment in pattern.split("."))
    )


def _shown(text: str) -> str:
    cut = "…" if len(text) > _SHOWN_MAX_CHARACTERS else ""
    return repr(text[:_SHOWN_MAX_CHARACTERS]) + cut


TOPICS: Final = Naming(
    check_topic,
    expected=f"a topic, not a pattern: {_RULE}",
    audience="every connection that is subscribed to one topic",
    description=f"The topic's name: {_RULE}.",
    example="order.42",
    max_characters=TOPIC_MAX_CHARACTERS,
    pattern=TOPIC_REGEX,
    covers=covers,
    shown=True,
)
"""The rules for the names within the audience kind ``topic``."""
