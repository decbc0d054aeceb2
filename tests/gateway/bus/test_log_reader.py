"""`clarion_gateway.bus.log_reader`: the pages of a log, of which Redis may lose a part in between.

tests/gateway/bus/test_subscription.py has the losses as clients are told of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clarion_contract.bus.history import PAGE_MAX_BYTES, History
from clarion_contract.bus.positions import Loss
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_contract.events.event import Event
from clarion_gateway.bus.log_reader import Heard, ends, read
from tests.gateway.recorder import event

TEXT = Event(20, 19, ALL, "answer", b"{}", of_text=True)


def heard(audience: Audience, last: int, after: int) -> Heard:
    return Heard(audience, last=last, logged=last, since=after, after=after, until=100)


class Pages:
    """A bus that answers the ranges of each read with the next of these pages."""

    def __init__(self, *pages: History) -> None:
        self.asked: list[int] = []
        self.max_bytes: list[int] = []
        self._pages = iter(pages)

    async def history(
        self, ranges: Sequence[tuple[Audience, int]], **options: Any
    ) -> list[History]:
        self.asked += [since for _, since in ranges]
        self.max_bytes.append(options.get("max_bytes", 0))
        return [next(self._pages) for _ in ranges]

    async def newest(self, audiences: Sequence[Audience], **_: Any) -> list[History]:
        raise NotImplementedError


async def test_a_log_is_read_on_from_where_its_page_ends() -> None:
    bus = Pages(
        History(5, 21, 10, [event(19, prev=10), event(20, prev=19)], next_since=20),
        History(5, 21, 20, [event(21, prev=20)]),
    )
    missed = await read(bus, [heard(ALL, 10, 10)], 50)
    assert bus.asked == [10, 20]
    assert [each.id for each in missed.events] == [19, 20, 21]
    assert (missed.losses, missed.forgotten) == ([], set())


@pytest.mark.parametrize(
    ("newest", "rest", "position"),
    [
        pytest.param(event(20, prev=19), History(5, 19, 19, []), 50, id="the last event"),
        pytest.param(TEXT, History(5, 19, 19, []), 50, id="the last event, of a text"),
        pytest.param(
            event(20, prev=19),
            History(5, 25, 19, []),
            50,
            id="and there is one without history since",
        ),
        pytest.param(
            event(20, prev=19),
            History(5, 25, 19, [event(25, prev=19)]),
            24,
            id="and there is another one since",
        ),
        pytest.param(
            TEXT,
            History(5, 25, 19, [event(25, prev=19)]),
            24,
            id="a text, and there is another event since",
        ),
    ],
)
async def test_what_redis_forgets_after_a_page_is_told(
    newest: Event, rest: History, position: int
) -> None:
    bus = Pages(History(5, 21, 10, [event(19, prev=10), newest], next_since=20), rest)
    missed = await read(bus, [heard(ALL, 10, 10)], 50)
    assert missed.forgotten == {ALL}
    assert missed.losses == [Loss(ALL, position, forgotten=True)]


@pytest.mark.parametrize(
    ("pages", "position"),
    [
        pytest.param(
            [
                History(5, 30, 10, [event(20, prev=10)], next_since=20),
                History(5, 40, 10, [event(30, AUTHENTICATED, prev=10)], next_since=30),
                History(5, 25, 19, [event(25, prev=19)]),
                History(5, 40, 30, [event(40, AUTHENTICATED, prev=30)]),
            ],
            39,
            id="what was read before on another stream",
        ),
        pytest.param(
            [
                History(5, 12, 8, [event(12, prev=8)]),
                History(5, 11, 10, [event(11, AUTHENTICATED, prev=10)]),
            ],
            10,
            id="what was heard on its stream",
        ),
        pytest.param(
            [
                History(5, 9, 9, []),
                History(5, 12, 9, [event(12, AUTHENTICATED, prev=9)]),
            ],
            11,
            id="the highest of two",
        ),
    ],
)
async def test_a_failover_came_before_the_first_event_above(
    pages: list[History], position: int
) -> None:
    """Above everything that was heard or read before: it may have forgotten any event below."""
    missed = await read(Pages(*pages), [heard(ALL, 10, 10), heard(AUTHENTICATED, 10, 10)], 50)
    assert [loss for loss in missed.losses if loss.forgotten] == [
        Loss(ALL, position, forgotten=True)
    ]


async def test_a_failover_seen_on_two_streams_came_after_what_was_heard_on_either() -> None:
    pages = [
        History(5, 45, 35, [event(45, prev=35)]),
        History(5, 12, 8, [event(12, AUTHENTICATED, prev=8)]),
    ]
    missed = await read(Pages(*pages), [heard(ALL, 40, 10), heard(AUTHENTICATED, 10, 10)], 50)
    assert missed.forgotten == {ALL, AUTHENTICATED}
    assert missed.losses == [Loss(ALL, 44, forgotten=True)]


async def test_what_was_heard_on_a_stream_that_lacks_nothing_says_nothing_of_a_failover() -> None:
    pages = [
        History(5, 12, 8, [event(12, prev=8)]),
        History(5, 30, 30, []),
    ]
    missed = await read(Pages(*pages), [heard(ALL, 10, 10), heard(AUTHENTICATED, 30, 10)], 50)
    assert missed.losses == [Loss(ALL, 11, forgotten=True)]


async def test_each_of_many_streams_has_its_share_of_a_page() -> None:
    few, many = ([user_audience(f"u{number}") for number in range(count)] for count in (1, 300))
    for audiences, max_bytes in ((few, PAGE_MAX_BYTES), (many, 300 * 32_768)):
        bus = Pages(*[History(0, 0, 0, [])] * len(audiences))
        await read(bus, [heard(audience, 0, 0) for audience in audiences], 50)
        assert bus.max_bytes == [max_bytes]


async def test_where_many_streams_end() -> None:
    """An empty log ends where it begins."""
    audiences = [user_audience(f"u{number}") for number in range(600)]
    bus = Pages(*[History(5, 9, 9, [])] * 599, History(5, 0, 0, []))
    assert await ends(bus, audiences) == [9] * 599 + [5]
    assert len(bus.max_bytes) == 2, "reads"


async def test_what_is_trimmed_after_a_page_is_told() -> None:
    bus = Pages(
        History(5, 30, 10, [event(19, prev=10), event(20, prev=19)], next_since=20),
        History(22, 30, 22, [event(30, prev=22)]),
    )
    missed = await read(bus, [heard(ALL, 10, 10)], 50)
    assert missed.losses == [Loss(ALL, 22)]
    assert missed.base == {ALL: 22}
    assert missed.forgotten == set()
