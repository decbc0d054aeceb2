"""`clarion_gateway.connections.inbound`: the largest make room, and everything is given back."""

from __future__ import annotations

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.inbound import Inbound
from tests.gateway.recorder import Recorder

KIB = 1_024


class Held(Recorder):
    """Gives everything back when it is closed, as sockets and inboxes do."""

    __slots__ = ("held_bytes", "inbound")

    def __init__(self, inbound: Inbound, held_bytes: int = 0) -> None:
        super().__init__()
        self.inbound = inbound
        self.held_bytes = 0
        self.hold(held_bytes)

    def hold(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self.inbound.hold(self, size_bytes)

    def close(self, *args: object, **more: object) -> None:
        super().close(*args, **more)  # type: ignore[arg-type]
        self.inbound.release(self, self.held_bytes)
        self.held_bytes = 0


class Going(Recorder):
    """One whose transport is closing: nothing comes of closing it again."""

    __slots__ = ()

    def close(self, *_: object, **__: object) -> None: ...


def test_past_the_budget_the_largest_are_closed_and_no_others() -> None:
    inbound = Inbound(100 * KIB)
    small = [Held(inbound, KIB) for _ in range(20)]
    large = [Held(inbound, 25 * KIB) for _ in range(3)]
    assert inbound.used_bytes == 95 * KIB
    small[0].hold(6 * KIB)
    closed = [each for each in large if each.closed_with is close_codes.INBOUND_FULL]
    assert len(closed) == 1
    assert inbound.used_bytes == 76 * KIB
    assert all(each.closed_with is None for each in small)


def test_the_connection_that_grows_largest_is_closed_itself() -> None:
    inbound = Inbound(100 * KIB)
    other, greedy = Held(inbound, 40 * KIB), Held(inbound)
    for _ in range(7):
        greedy.hold(10 * KIB)
    assert greedy.closed_with is close_codes.INBOUND_FULL
    assert other.closed_with is None
    assert inbound.used_bytes == 40 * KIB


def test_what_a_handler_works_on_for_a_closed_connection_still_counts() -> None:
    inbound = Inbound(100 * KIB)
    connection = Recorder()
    inbound.hold(connection, 99 * KIB)
    connection.close(close_codes.NORMAL)
    newcomer = Held(inbound, 2 * KIB)
    assert newcomer.closed_with is close_codes.INBOUND_FULL  # the only one that can make room
    inbound.release(connection, 99 * KIB)
    assert inbound.used_bytes == 0
    assert Held(inbound, 90 * KIB).closed_with is None


def test_one_that_is_going_already_and_gives_nothing_back_yet_is_not_waited_for() -> None:
    inbound = Inbound(100 * KIB)
    going = Going()
    inbound.hold(going, 90 * KIB)
    other = Held(inbound, 20 * KIB)
    assert other.closed_with is close_codes.INBOUND_FULL
    assert inbound.used_bytes == 90 * KIB
