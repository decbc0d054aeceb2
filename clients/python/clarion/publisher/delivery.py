"""The way of a request through its attempts, without any I/O.

`deliver` is a generator: it yields what to do next, a request or a pause, and is sent what came of
it. So `Publisher` and `AsyncPublisher` share the rules of docs/publishing.md ("When to retry").
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from itertools import count
from typing import cast

from clarion.publisher.events import (
    BATCH_PATH,
    PATH,
    POSITION_PATH,
    Receipt,
    batch_of,
    read_position,
    read_receipt,
    read_results,
)
from clarion.publisher.problems import (
    InvalidEvent,
    NotAPublisher,
    Problem,
    PublishError,
    TooLarge,
    Unavailable,
    read_problem,
)
from clarion_contract.protocol.backoff import backoff_seconds


@dataclass(frozen=True, slots=True)
class Ask:
    """Make this request now.

    Attributes:
        method: ``GET`` has no body.
        fresh: with a new token, since the publisher refused the last one.
    """

    method: str
    path: str
    body: bytes = b""
    trace: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        retry_after: the header ``Retry-After``.
    """

    status: int
    content: bytes
    retry_after: str | None = None


class NoAnswer(Exception):
    """A request came to nothing: no connection, a time-out, or no token. ``__cause__`` says why."""


Steps = Generator[Ask | Pause, Answer | NoAnswer | None, bytes]


@dataclass(frozen=True)
class Attempts:
    """The limits of trying.

    Attributes:
        seconds: no attempt begins later than this after the first one. 0: one attempt.
        jitter: a number between 0 and 1.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    def begin(self) -> float:
        """When the attempts end that begin now, by the clock."""
        return self.clock() + self.seconds

    def deliver(self, ask: Ask, deadline: float) -> Steps:
        """The content of a request's good answer, after as many attempts as it takes.

        Raises:
            Problem: the publisher refused for good.
            Unavailable: the time is up.
            NotAPublisher: something else answers.
        """
        for attempt in count():
            outcome = cast("Answer | NoAnswer", (yield ask))
            if isinstance(outcome, Answer):
                if outcome.status < 400:
                    return outcome.content
                problem = read_problem(outcome.content, outcome.status)
                if problem.status == 404:
                    raise NotAPublisher("status 404; is it a publisher's public port?")
                if problem.status == 401 and not ask.fresh:
                    ask = replace(ask, fresh=True)
                    continue
                if not problem.retryable:
                    raise problem
                cause: BaseException = problem
                least = _retry_after(outcome.retry_after)
            else:
                cause, least = outcome.__cause__ or outcome, 0.0
            yield self.pause(attempt, deadline, cause, least)
        raise AssertionError("unreachable")

    def pause(
        self, attempt: int, deadline: float, cause: BaseException, least_seconds: float = 0.0
    ) -> Pause:
        """The pause before the next attempt: full jitter, on top of what the publisher asks for.

        Raises:
            Unavailable: the next attempt would begin after the deadline.
        """
        wait = least_seconds + backoff_seconds(attempt, self.jitter())
        if self.clock() + wait > deadline:
            reason = str(cause) or type(cause).__name__
            raise Unavailable(f"no publisher confirmed in time: {reason}") from cause
        return Pause(wait)


def deliver_one(
    attempts: Attempts, encoded: bytes, trace: Mapping[str, str]
) -> Generator[Ask | Pause, Answer | NoAnswer | None, Receipt]:
    """Publish one event."""
    ask = Ask("POST", PATH, encoded, trace)
    return read_receipt((yield from attempts.deliver(ask, attempts.begin())))


def deliver_position(
    attempts: Attempts,
) -> Generator[Ask | Pause, Answer | NoAnswer | None, str]:
    """Ask for a position of now."""
    ask = Ask("GET", POSITION_PATH)
    return read_position((yield from attempts.deliver(ask, attempts.begin())))


def deliver_batch(
    attempts: Attempts, encoded: Sequence[bytes], trace: Mapping[str, str]
) -> Generator[Ask | Pause, Answer | NoAnswer | None, list[Receipt | PublishError]]:
    """Publish several events, in their order; an event's error stands in its result.

    Events that Redis alone refused, for a passing reason, are sent again.
    """
    deadline = attempts.begin()
    outcomes: list[Receipt | PublishError] = []
    waiting = list(range(len(encoded)))
    for attempt in count():
        try:
            results = yield from _send(attempts, [encoded[i] for i in waiting], trace, deadline)
        except PublishError as error:
            results = [_same(error) for _ in waiting]
        outcomes = outcomes or results
        for index, result in zip(waiting, results, strict=True):
            outcomes[index] = result
        refused = [(i, each) for i in waiting if _is_passing(each := outcomes[i])]
        if not refused:
            break
        waiting = [index for index, _ in refused]
        try:
            yield attempts.pause(attempt, deadline, cast("PublishError", refused[0][1]))
        except Unavailable as error:
            for index in waiting:
                outcomes[index] = _same(error)
            break
    return outcomes


def _send(
    attempts: Attempts, encoded: Sequence[bytes], trace: Mapping[str, str], deadline: float
) -> Generator[Ask | Pause, Answer | NoAnswer | None, list[Receipt | PublishError]]:
    """One batch in one request, or in two if it is larger than the publisher takes."""
    ask = Ask("POST", BATCH_PATH, batch_of(encoded), trace)
    try:
        content = yield from attempts.deliver(ask, deadline)
    except (TooLarge, InvalidEvent):  # more bytes, or more events, than this publisher takes
        if len(encoded) == 1:
            raise
        middle = len(encoded) // 2
        first = yield from _send(attempts, encoded[:middle], trace, deadline)
        return first + (yield from _send(attempts, encoded[middle:], trace, deadline))
    return read_results(content, len(encoded))


def _same(error: PublishError) -> PublishError:
    """A copy, since each event's error has the event's own key."""
    copied = copy(error)
    copied.__cause__ = error.__cause__
    return copied


def _is_passing(outcome: Receipt | PublishError) -> bool:
    return isinstance(outcome, Problem) and outcome.retryable


def _retry_after(header: str | None) -> float:
    """Seconds, or a time (RFC 9110, section 10.2.3); 0 for anything else."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0
