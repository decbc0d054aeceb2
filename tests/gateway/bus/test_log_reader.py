"""`clarion_gateway.bus.log_reader`: the pages of a log, of which Redis may lose a part in between.

tests/gateway/bus/test_subscription.py has the losses as clients are told of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clarion_contract.bus.history import History
from clarion_contract.bus.positions import Loss
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event
from clarion_gateway.bus.log_reader import Heard, read
from tests.gateway.recorder import event

HEARD = Heard(ALL, last=10, logged=10, since=10, after=10, until=100)
TEXT = Event(20, 19, ALL, "answer", b"{}", of_text=True)


class Pages:
    """A bus with one log, which answers each read with the next of these pages."""

    def __init__(self, *pages: History) -> None:
        self.asked: list[int] = []
        self._pages = iter(pages)

    async def history(self, ranges: Sequence[tuple[Audience, int]], **_: Any) -> list[History]:
        ((_, since),) = ranges
        self.asked.append(since)
        return [next(self._pages)]

    async def newest(self, audiences: Sequence[Audience], **_: Any) -> list[History]:
        raise NotImplementedError


async def test_a_log_is_read_on_from_where_its_page_ends() -> None:
    bus = Pages(
        History(5, 21, 10, [event(19, prev=10), event(20, prev=19)], next_since=20),
        History(5, 21, 20, [event(21, prev=20)]),
    )
    missed = await read(bus, [HEARD], 50)
    assert bus.asked == [10, 20]
    assert [each.id for each in missed.events] == [19, 20, 21]
    assert (missed.losses, missed.forgotten) == ([], set())


@pytest.mark.parametrize(
    ("newest", "rest"),
    [
        pytest.param(event(20, prev=19), History(5, 19, 19, []), id="the last event"),
        pytest.param(TEXT, History(5, 19, 19, []), id="the last event, of a text"),
        pytest.param(
            event(20, prev=19), History(5, 25, 19, []), id="and there is one without history since"
        ),
        pytest.param(
            event(20, prev=19),
            History(5, 25, 19, [event(25, prev=19)]),
            id="and there is another one since",
        ),
    ],
)
async def test_what_redis_forgets_after_a_page_is_told(newest: Event, rest: History) -> None:
    bus = Pages(History(5, 21, 10, [event(19, prev=10), newest], next_since=20), rest)
    missed = await read(bus, [HEARD], 50)
    assert missed.forgotten == {ALL}
    assert [loss.forgotten for loss in missed.losses] == [True]


async def test_what_is_trimmed_after_a_page_is_told() -> None:
    bus = Pages(
        History(5, 30, 10, [event(19, prev=10), event(20, prev=19)], next_since=20),
        History(22, 30, 22, [event(30, prev=22)]),
    )
    missed = await read(bus, [HEARD], 50)
    assert missed.losses == [Loss(ALL, 22)]
    assert missed.base == {ALL: 22}
    assert missed.forgotten == set()
