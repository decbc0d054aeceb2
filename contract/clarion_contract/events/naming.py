"""The rules for the names within a kind of audience, such as users' ids.

Pure values, no I/O. `clarion_contract.events.audience.KINDS` gives each kind its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class InvalidName(ValueError):
    """A name that a kind of audience does not take; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class Naming:
    """The rule for the names of a kind of audience, for code and for people.

    Attributes:
        check: returns a name unchanged, or raises `InvalidName`.
        expected: the rule in words, for refusals.
        audience: the recipients in words, for the OpenAPI document, such as "every connection of
            one user".
        description: of the name, for the OpenAPI document.
        example: a name.
        max_characters: of a name.
        pattern: that a name matches, in syntax that the regular expressions of every language
            have; None: any characters will do.
        covers: whether a pattern covers a name: then a scope may be narrowed to
            ``<scope>:<pattern>``. None: it may not.
        shown: whether clients know streams of the kind by their names. Then an event says the name,
            in a field that has the kind's name. Such a name needs no escaping in JSON.
    """

    check: Callable[[str], str]
    expected: str
    audience: str
    description: str
    example: str
    max_characters: int
    pattern: str | None = None
    covers: Callable[[str, str], bool] | None = None
    shown: bool = False
