"""The tables of the protocol, read from the JSON files beside this module."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final, Literal

import msgspec

Verdict = Literal["retry", "token", "stop"]
"""The client's next step after a connection ended.

- ``retry``: come back, after a pause.
- ``token``: come back once with a fresh token.
- ``stop``: coming back would end the same way.
"""


class Close(msgspec.Struct, frozen=True):
    """A reason to close a connection.

    Attributes:
        code: of the close frame (RFC 6455, section 7.4).
        label: the metric's label, and ``code`` of an event stream's ``$error``.
        when: in words, as the other texts.
    """

    code: int
    label: str
    verdict: Verdict
    when: str
    fault: str
    come_back: str


class Refusal(msgspec.Struct, frozen=True):
    """An answer over HTTP before there is a connection. ``label`` is Markdown."""

    status: int
    verdict: Verdict
    when: str
    label: str
    come_back: str


class MessageError(msgspec.Struct, frozen=True):
    """An ``error`` on an open connection.

    Attributes:
        code: None: all other codes, which are the application's own.
        answers: the kinds of messages that it answers; empty: any.
    """

    code: str | None
    answers: list[str]
    when: str
    fault: str
    again: str


class Problem(msgspec.Struct, frozen=True):
    """A problem document of the publisher (RFC 9457)."""

    name: str
    status: int
    retryable: bool
    when: str
    fault: str
    again: str


NORMAL_CODE: Final = 1000
ABNORMAL_CODE: Final = 1006  # never sent
_FOLDER: Final = resources.files("clarion_contract.protocol")


@cache
def closes() -> list[Close]:
    """Why connections close."""
    return msgspec.json.decode(_text("closes"), type=list[Close])


@cache
def refusals() -> list[Refusal]:
    """A gateway's answers over HTTP."""
    return msgspec.json.decode(_text("refusals"), type=list[Refusal])


@cache
def message_errors() -> list[MessageError]:
    """Errors on an open connection."""
    return msgspec.json.decode(_text("errors"), type=list[MessageError])


@cache
def problems() -> list[Problem]:
    """Problems of the publisher."""
    return msgspec.json.decode(_text("problems"), type=list[Problem])


@cache
def verdicts() -> dict[int | str, Verdict]:
    """The next step by close code, HTTP status, or label of an ``$error``.

    Whatever is not here has the verdict ``retry``: what a client does not know may pass.
    """
    found: dict[int | str, Verdict] = {}
    for close in closes():
        if close.verdict != "retry":
            found[close.code] = found[close.label] = close.verdict
    for refusal in refusals():
        if refusal.verdict != "retry":
            found[refusal.status] = refusal.verdict
    return found


def verdict(code: int | str) -> Verdict:
    """The next step after a connection ended.

    Args:
        code: a close code, an HTTP status, or the label of an event stream's ``$error``.

    Example: ``verdict(4401) == "token"``.
    """
    return verdicts().get(code, "retry")


def _text(name: str) -> bytes:
    return _FOLDER.joinpath(f"{name}.json").read_bytes()
