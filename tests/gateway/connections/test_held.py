"""`clarion_gateway.connections.held`: events held for a client keep their order, and leave once."""

from __future__ import annotations

from clarion_gateway.connections.held import Gap, Held
from tests.gateway.recorder import event


def test_what_waits_is_taken_once_in_the_order_in_which_it_came() -> None:
    held = Held()
    held.add([event(1), event(2)])
    held.add([Gap(2)])
    held.add([event(3)])
    assert len(held) == 4
    assert held.take() == [event(1), event(2), Gap(2), event(3)]
    assert held.take() == []
    held.add([event(4)])
    assert held.take() == [event(4)]
