"""The attempts of a request, without any I/O: when they go on, how long they pause, how they end."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest

from clarion.publisher.delivery import (
    Answer,
    Ask,
    Attempts,
    NoAnswer,
    Pause,
    deliver_batch,
    deliver_one,
)
from clarion.publisher.problems import (
    InsufficientScope,
    InvalidEvent,
    InvalidToken,
    NotAPublisher,
    Problem,
    TooLarge,
    Unavailable,
)

RECEIPT = Answer(201, b'{"id":"7","duplicate":false,"gateways":2}')


class Clock:
    """Time passes by pauses only."""

    def __init__(self) -> None:
        self.now = 0.0

    def attempts(self, seconds: float = 30.0, jitter: float = 1.0) -> Attempts:
        return Attempts(seconds, lambda: self.now, lambda: jitter)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def problem(name: str, status: int, *, retry_after: str | None = None, **more: object) -> Answer:
    document = {"type": f"urn:clarion:problem:{name}", "title": name, "status": status, **more}
    return Answer(status, json.dumps(document).encode(), retry_after)


def lost() -> NoAnswer:
    failure = NoAnswer()
    failure.__cause__ = ConnectionRefusedError("refused")
    return failure


def play(
    clock: Clock, steps: Generator[Any, Any, Any], *answers: Answer | NoAnswer
) -> tuple[list[Ask], list[float], Any]:
    """Give the answers in turn; return the requests, the pauses and the result."""
    asked: list[Ask] = []
    pauses: list[float] = []
    waiting = list(answers)
    came = None
    while True:
        try:
            step = steps.send(came)
        except StopIteration as end:
            assert waiting == []
            return asked, pauses, end.value
        if isinstance(step, Pause):
            pauses.append(step.seconds)
            clock.now += step.seconds
            came = None
        else:
            asked.append(step)
            came = waiting.pop(0)


def one(clock: Clock, *answers: Answer | NoAnswer, **options: float) -> Any:
    return play(clock, deliver_one(clock.attempts(**options), b"{}", {}), *answers)


def test_tries_again_with_the_same_bytes_and_longer_pauses(clock: Clock) -> None:
    asked, pauses, receipt = one(clock, lost(), Answer(502, b"<html>"), lost(), RECEIPT)
    assert {ask.body for ask in asked} == {b"{}"}
    assert pauses == [0.25, 0.5, 1.0]
    assert (receipt.id, receipt.duplicate, receipt.gateways) == ("7", False, 2)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again_whoever_says_so(clock: Clock, status: int) -> None:
    asked, _, _ = one(clock, Answer(status, b""), RECEIPT)
    assert len(asked) == 2


def test_waits_as_long_as_the_publisher_asks_for(clock: Clock) -> None:
    busy = problem("rate_limited", 429, retryable=True, retry_after="7")
    assert one(clock, busy, RECEIPT, jitter=0.0)[1] == [7.0]
    assert one(clock, busy, RECEIPT, jitter=1.0)[1] == [7.25]


def test_a_retry_after_that_is_a_date_or_nonsense(clock: Clock) -> None:
    past = Answer(503, b"", "Wed, 21 Oct 2015 07:28:00 GMT")
    assert one(clock, past, Answer(503, b"", "soon"), RECEIPT, jitter=0.0)[1] == [0.0, 0.0]


def test_ends_when_the_time_is_up_and_says_why(clock: Clock) -> None:
    with pytest.raises(Unavailable, match="in time: refused") as error:
        one(clock, lost(), lost(), lost(), seconds=1.0)
    assert isinstance(error.value.__cause__, ConnectionRefusedError)
    with pytest.raises(Unavailable, match="in time: bus_unavailable") as error:
        one(clock, problem("bus_unavailable", 503, retryable=True), seconds=0.0)
    assert isinstance(error.value.__cause__, Problem)


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("insufficient_scope", 403, InsufficientScope),
        ("invalid_event", 422, InvalidEvent),
        ("data_too_large", 413, TooLarge),
        ("bus_refused", 507, Problem),
    ],
)
def test_a_refusal_for_good_is_raised_at_once(
    clock: Clock, name: str, status: int, kind: type[Problem]
) -> None:
    with pytest.raises(kind) as error:
        one(clock, problem(name, status, detail="why", retryable=False))
    assert type(error.value) is kind
    assert (error.value.name, error.value.status, str(error.value)) == (
        name, status, f"{name}: why",
    )  # fmt: skip


def test_a_refused_token_is_replaced_once(clock: Clock) -> None:
    refused = problem("invalid_token", 401, retryable=False)
    asked, pauses, _ = one(clock, refused, RECEIPT)
    assert [ask.fresh for ask in asked] == [False, True]
    assert pauses == []
    with pytest.raises(InvalidToken):
        one(clock, refused, refused)


@pytest.mark.parametrize("answer", [Answer(404, b""), Answer(200, b"<html>"), Answer(200, b"{}")])
def test_something_else_is_no_publisher(clock: Clock, answer: Answer) -> None:
    with pytest.raises(NotAPublisher):
        one(clock, answer)


def results(*of: dict[str, object]) -> Answer:
    return Answer(207, json.dumps({"results": of}).encode())


GOOD = {"status": 201, "id": "7", "duplicate": False, "gateways": 1}
BUSY = {
    "status": 503,
    "problem": {"type": "urn:clarion:problem:bus_unavailable", "title": "t", "retryable": True},
}
BAD = {
    "status": 422,
    "problem": {"type": "urn:clarion:problem:invalid_event", "title": "t", "retryable": False},
}


def batch(clock: Clock, events: list[bytes], *answers: Answer | NoAnswer, **options: float) -> Any:
    return play(clock, deliver_batch(clock.attempts(**options), events, {}), *answers)


def bodies(asked: list[Ask]) -> list[object]:
    return [json.loads(ask.body)["events"] for ask in asked]


def test_of_a_batch_only_the_passing_failures_are_sent_again(clock: Clock) -> None:
    events = [b"1", b"2", b"3"]
    asked, _, outcomes = batch(clock, events, results(GOOD, BUSY, BAD), results(GOOD))
    assert bodies(asked) == [[1, 2, 3], [2]]
    assert [getattr(each, "id", None) for each in outcomes] == ["7", "7", None]
    assert isinstance(outcomes[2], InvalidEvent)


def test_a_batch_ends_when_the_time_is_up(clock: Clock) -> None:
    _, _, outcomes = batch(clock, [b"1", b"2"], results(GOOD, BUSY), seconds=0.0)
    assert outcomes[0].id == "7"
    assert isinstance(outcomes[1], Unavailable)
    _, _, outcomes = batch(clock, [b"1", b"2"], lost(), seconds=0.0)
    assert [type(each) for each in outcomes] == [Unavailable, Unavailable]
    assert outcomes[0] is not outcomes[1], "each tells its own key"


def test_a_batch_that_is_too_large_is_halved(clock: Clock) -> None:
    large = problem("body_too_large", 413, retryable=False)
    asked, _, outcomes = batch(
        clock, [b"1", b"2", b"3"], large, results(GOOD), large, results(GOOD), results(GOOD)
    )
    assert bodies(asked) == [[1, 2, 3], [1], [2, 3], [2], [3]]
    assert [each.id for each in outcomes] == ["7"] * 3
    _, _, (outcome,) = batch(clock, [b"1"], large)
    assert isinstance(outcome, TooLarge)
