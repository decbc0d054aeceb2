"""`clarion_gateway.connections.held`: events held for a client keep their order, and leave once."""

from __future__ import annotations

from clarion_gateway.connections.held import Gap, Held
from clarion_gateway.connections.waiting import Waiting
from tests.gateway.recorder import event


def test_what_waits_is_taken_once_in_the_order_in_which_it_came() -> None:
    held = Held(Waiting())
    held.add([event(1), event(2)])
    held.add([Gap(2)])
    held.add([event(3)])
    assert len(held) == 4
    assert held.take() == [event(1), event(2), Gap(2), event(3)]
    assert held.take() == []
    held.add([event(4)])
    assert held.take() == [event(4)]


def test_what_several_hold_takes_memory_once_until_all_have_written_it() -> None:
    waiting = Waiting()
    one, other = Held(waiting), Held(waiting)
    same = event(1)
    one.add([same, Gap(1)])
    other.add([same, event(2)])
    cost_bytes = same.cost_bytes
    assert waiting.used_bytes == 2 * cost_bytes
    assert other.total_bytes == other.cost_bytes == 2 * cost_bytes
    other.take()  # on their way
    assert (other.total_bytes, other.cost_bytes) == (2 * cost_bytes, 0)
    assert waiting.used_bytes == 2 * cost_bytes
    other.take()
    assert waiting.used_bytes == cost_bytes
    one.take()
    one.end()
    assert waiting.used_bytes == one.total_bytes == 0
