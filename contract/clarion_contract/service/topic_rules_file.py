"""Reads the rules for topics, `clarion_contract.events.topic_rules`, that a setting names.

The setting holds the path of a YAML or JSON file, or the JSON itself, as the chart writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from clarion_contract.events.topic_rules import (
    LONGEST_AGE,
    NO_RULES,
    TopicHistory,
    TopicLastValue,
    TopicPresence,
    TopicRule,
    TopicRules,
)
from clarion_contract.service.documents import parse_json, parse_yaml

_UNKNOWN_KEY: Final = "extra_forbidden"
# The class of the maps below each key of the file; the file itself is below the empty key.
_MAPS: Final[dict[str, type[BaseModel]]] = {
    "": TopicRules,
    "topics": TopicRule,
    "history": TopicHistory,
    "last_value": TopicLastValue,
    "presence": TopicPresence,
}


class BadRules(ValueError):
    """Rules that no service can start with.

    Attributes:
        faults: one line for each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def read_topic_rules(given: str | None, *, max_age_seconds: int) -> TopicRules:
    """The rules that a setting names; no rules if it is unset.

    Args:
        given: a path, or JSON text that begins with ``{``.
        max_age_seconds: how long Redis remembers any stream. A rule may keep less.

    Raises:
        BadRules: the file cannot be read, or something in it is wrong.

    Example: ``read_topic_rules("/etc/clarion/topics.yaml", max_age_seconds=600)``.
    """
    if given is None:
        return NO_RULES
    parsed = _parsed(given)
    faults = _repeated(parsed)
    try:
        rules = TopicRules.model_validate(parsed, context={LONGEST_AGE: max_age_seconds})
    except ValidationError as error:
        faults = [*(_fault(detail) for detail in error.errors()), *faults]
    if faults:
        raise BadRules(faults)
    return rules


def _parsed(given: str) -> object:
    if given.lstrip().startswith("{"):
        return _of_json(given)
    path = Path(given)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise BadRules([f"cannot read {given}: {reason}"]) from None
    parsed = _of_json(text) if path.suffix == ".json" else _of_yaml(text)
    if not isinstance(parsed, dict):
        raise BadRules([f"expected a map with the key topics in {given}"])
    return parsed


def _of_json(text: str) -> object:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise BadRules([f"not JSON: {error}"]) from None


def _of_yaml(text: str) -> object:
    import yaml  # noqa: PLC0415 - slow, rarely used

    try:
        return parse_yaml(text)
    except ValueError as error:
        raise BadRules([str(error)]) from None
    except (yaml.YAMLError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise BadRules([f"not YAML{line}"]) from None


def _repeated(parsed: object) -> list[str]:
    """One line for each rule whose pattern an earlier one has."""
    rules = parsed.get("topics") if isinstance(parsed, dict) else None
    found: set[str] = set()
    faults = []
    for place, rule in enumerate(rules if isinstance(rules, list) else ()):
        pattern = rule.get("pattern") if isinstance(rule, dict) else None
        if isinstance(pattern, str):
            if pattern in found:
                where = f"topics[{place}].pattern"
                faults.append(f"{where}: expected one rule for {pattern!r}, got a second")
            found.add(pattern)
    return faults


def _fault(detail: ErrorDetails) -> str:
    """One line for one fault: where it is, and what was expected."""
    where = ""
    for part in detail["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == _UNKNOWN_KEY:
        message = f"unknown key, expected {_keys_beside(detail['loc'])}"
    elif isinstance(detail["input"], str | int | float) and ", got " not in message:
        message += f", got {str(detail['input'])[:64]!r}"
    return f"{where.removeprefix('.')}: {message}" if where else message


def _keys_beside(place: Sequence[int | str]) -> str:
    """The keys that the map with this one may have."""
    names = [part for part in place[:-1] if isinstance(part, str) and part in _MAPS]
    *others, last = _MAPS[names[-1] if names else ""].model_fields
    return f"{', '.join(others)} or {last}" if others else last
