"""The publisher's problem documents (RFC 9457) as exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from clarion_publisher.ingestion.refusal import FieldError
from clarion_publisher.sources.http.problems import TYPE_PREFIX

_TEXT_MAX_CHARACTERS: Final = 200
# Answers of publishers that have a passing problem, and of load balancers in front of them.
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class PublishError(Exception):
    """An event is not published, or nobody can say whether it is.

    Attributes:
        key: the event's idempotency key. To publish the same event again, pass the same key; then
            it is published once. None: the error does not concern one event.
    """

    key: str | None = None


class Unavailable(PublishError):
    """No publisher confirmed the event in time. It may be published or not.

    ``__cause__`` is the failure of the last attempt: a `Problem`, or an exception of httpx.
    """


class NotAPublisher(PublishError):
    """Something answers at the address, but not like a publisher of Clarion."""


class Problem(PublishError):
    """The publisher refused. docs/errors.md lists the names.

    Attributes:
        name: the kind of problem, such as ``invalid_event``; empty if the answer came from
            something between here and the publisher.
        status: the HTTP status.
        title: the kind of problem in words.
        detail: what happened this time.
        retryable: whether the same event may be taken later.
        errors: the wrong fields; each has ``pointer``, ``expected`` and ``got``.
        scope: the scope that the token lacks.

    Example: ``except Problem as problem: log.error(problem.detail, name=problem.name)``.
    """

    def __init__(
        self,
        name: str,
        status: int,
        title: str,
        detail: str = "",
        *,
        retryable: bool = False,
        errors: Sequence[FieldError] = (),
        scope: str | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.name = name
        self.status = status
        self.title = title
        self.detail = detail
        self.retryable = retryable
        self.errors = tuple(errors)
        self.scope = scope

    def __reduce__(self) -> tuple[object, ...]:
        """For copies, and for pickles: Celery sends exceptions from process to process."""
        return _blank, (type(self), self.args), self.__dict__


class InvalidToken(Problem):
    """There is no token, or the publisher does not accept it."""


class InsufficientScope(Problem):
    """The token lacks the scope for the audience; ``scope`` names it."""


class InvalidEvent(Problem):
    """A field of the event is wrong; ``errors`` says which."""


class TooLarge(Problem):
    """The event's data are larger than the publisher takes."""


class KeyReused(Problem):
    """The idempotency key belongs to another event."""


def _blank(kind: type[Problem], arguments: tuple[object, ...]) -> Problem:
    """A problem whose attributes are still missing."""
    problem = kind.__new__(kind, *arguments)
    problem.args = arguments
    return problem


_CLASSES: Final[dict[str, type[Problem]]] = {
    "unauthenticated": InvalidToken,
    "invalid_token": InvalidToken,
    "insufficient_scope": InsufficientScope,
    "invalid_event": InvalidEvent,
    "invalid_batch": InvalidEvent,
    "body_too_large": TooLarge,
    "data_too_large": TooLarge,
    "key_reused": KeyReused,
}


class Document(msgspec.Struct):
    """A problem document. A proxy's own answer may have any of the fields, or none."""

    type: str = ""
    title: str = ""
    detail: str = ""
    retryable: bool | None = None
    errors: Sequence[FieldError] = ()
    scope: str | None = None


def problem_of(document: Document, status: int) -> Problem:
    """The exception for a problem document."""
    name = document.type.removeprefix(TYPE_PREFIX) if TYPE_PREFIX in document.type else ""
    retryable = status in _PASSING if document.retryable is None else document.retryable
    return _CLASSES.get(name, Problem)(
        name,
        status,
        document.title or f"HTTP {status}",
        document.detail,
        retryable=retryable,
        errors=document.errors,
        scope=document.scope,
    )


def read_problem(content: bytes, status: int) -> Problem:
    """The exception for an answer of 400 or above, whoever gave it."""
    try:
        return problem_of(msgspec.json.decode(content, type=Document), status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = content[:_TEXT_MAX_CHARACTERS].decode(errors="replace").strip()
        return problem_of(Document(detail=text), status)
