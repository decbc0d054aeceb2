"""`clarion_gateway.clients.user_limits.UserLimits`: connections of one user, anonymous clients."""

from __future__ import annotations

from clarion_gateway.clients.opening import Opening
from clarion_gateway.connections.connection import State
from tests.gateway.clients.test_admission import Door, welcome_of
from tests.gateway.clockwork import ClockworkLoop


def test_without_anonymous_clients_each_needs_a_token(loop: ClockworkLoop) -> None:
    door = Door(loop, allow_anonymous=False)
    refused = door.enter()
    assert refused.closed_with is not None
    assert refused.closed_with.code == 4401
    assert welcome_of(door.enter(Opening("alice", None)))["user"] == "alice"


def test_a_user_may_have_so_many_connections(loop: ClockworkLoop) -> None:
    """The limit is checked twice: other connections may come while one waits for Redis."""
    door = Door(loop, max_connections_per_user=2)
    arriving = [door.knock(Opening("alice", None)) for _ in range(5)]
    loop.settle()
    assert [connection.state for connection in arriving].count(State.LIVE) == 2
    assert door.outcomes("too_many_connections") == 3
    assert welcome_of(door.enter(Opening("bob", None)))["user"] == "bob"
