"""Checks of the protocol, and the loop that runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

# For one check. A gateway without Redis answers after 10 s; a client may be slow to start.
CHECK_SECONDS: Final = 60.0

Subject = TypeVar("Subject")


class Broken(Exception):
    """The protocol is not kept; the text says what was expected and what came."""


class Skipped(Exception):
    """The check cannot be made; the text says what it lacks."""


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """One rule of the protocol.

    Attributes:
        rule: in words, for people.
        section: of docs/protocol.md.
    """

    rule: str
    section: str
    run: Callable[[Subject], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check; ``detail`` says why it is broken or skipped."""

    rule: str
    section: str
    outcome: Literal["kept", "broken", "skipped"]
    detail: str = ""


async def run_checks(
    checks: Sequence[Check[Subject]], subject: Subject, seconds: float = CHECK_SECONDS
) -> AsyncIterator[Result]:
    """Run checks one after the other; yield each result when it is there."""
    for check in checks:
        try:
            async with asyncio.timeout(seconds):
                await check.run(subject)
        except Broken as broken:
            yield Result(check.rule, check.section, "broken", str(broken))
        except Skipped as skipped:
            yield Result(check.rule, check.section, "skipped", str(skipped))
        except TimeoutError:
            yield Result(check.rule, check.section, "broken", f"nothing came for {seconds:g} s")
        else:
            yield Result(check.rule, check.section, "kept")


def expect(actual: object, expected: object, what: str) -> None:
    """Compare.

    Raises:
        Broken: they differ.
    """
    if actual != expected:
        raise Broken(f"expected {what} {expected!r}, got {actual!r}")
