"""`clarion_gateway.clients.identity_changes.IdentityChanges`: a connection changes its user between
two events, and a log-in that is refused changes nothing.
"""

from __future__ import annotations

import asyncio

import pytest

from clarion_contract.bus.orders import RevokeToken
from clarion_contract.events.audience import ALL, AUTHENTICATED, topic_audience
from clarion_gateway.clients.opening import Opening
from clarion_gateway.connections import close_codes
from tests.gateway.clients.test_admission import (
    ALICE,
    ALICES_TOKEN,
    Door,
    asking,
    revoke,
    topic_events,
)
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import sample


@pytest.fixture
def door(loop: ClockworkLoop) -> Door:
    return Door(loop)


def test_logging_in_keeps_to_the_limit_too(loop: ClockworkLoop) -> None:
    door = Door(loop, max_connections_per_user=1)
    first, second = door.enter(), door.enter()
    for connection in (first, second):
        loop.spawn(door.identities.authenticate(connection, "alice", b"1"))
    loop.settle()
    answers = sorted(connection.messages[-1]["kind"] for connection in (first, second))
    assert answers == ["error", "identity"]
    assert len(door.hub.of_user("alice")) == 1


def test_logging_in_moves_a_connection_between_two_events(door: Door) -> None:
    connection = door.enter()
    (before,) = door.publish(AUTHENTICATED)
    identity = door.log_in(connection, "alice@90")
    assert identity == {"kind": "identity", "ref": 1, "user": "alice", "expires_in": 90}
    after = [door.publish(to)[0] for to in (AUTHENTICATED, ALICE)]
    assert connection.event_ids == after
    assert before not in connection.event_ids


def test_logging_out_ends_what_is_for_users(door: Door) -> None:
    connection = door.enter(Opening("alice", None))
    (before,) = door.publish(ALICE)
    assert door.log_in(connection, None)["user"] is None
    for to in (AUTHENTICATED, ALICE):
        door.publish(to)
    (after,) = door.publish(ALL)
    assert connection.event_ids == [before, after]
    assert connection.identity.expires_at is None


@pytest.mark.parametrize(
    ("token", "code"),
    [("forged", "unauthenticated"), ("keyless", "unavailable"), ("x" * 10_000, "unauthenticated")],
)
def test_a_token_that_fails_in_band_changes_nothing(door: Door, token: str, code: str) -> None:
    connection = door.enter(Opening("alice@90", None))
    error = door.log_in(connection, token)
    assert (error["kind"], error["ref"], error["code"]) == ("error", 1, code)
    assert (connection.user, connection.identity.expires_at) == ("alice", 90)
    assert door.publish(ALICE) == connection.event_ids


def test_changes_of_identity_are_counted(door: Door) -> None:
    connection = door.enter()
    for token in ("alice@90", "alice@190", "bob", None):
        door.log_in(connection, token)
    changes = {
        change: sample(door.metrics, "clarion_identity_changes_total", change=change)
        for change in ("login", "refresh", "logout")
    }
    assert changes == {"login": 2, "refresh": 1, "logout": 1}


@pytest.mark.parametrize("before", [None, "alice@90", "bob"], ids=["login", "refresh", "switch"])
def test_a_revoked_token_is_refused_in_band(door: Door, before: str | None) -> None:
    connection = door.enter(Opening(before, None))
    revoke(door, ALICES_TOKEN)
    answer = door.log_in(connection, "alice")
    assert (answer["kind"], answer["code"]) == ("error", "unauthenticated")
    assert "revoked" in answer["message"]
    assert connection.user == (before and before.partition("@")[0])
    assert connection.closed_with is None


def test_a_connection_is_closed_for_the_token_that_it_holds_now(door: Door) -> None:
    """A token that was replaced or given up closes nothing."""
    refreshed, logged_out = door.enter(Opening("alice", None)), door.enter(Opening("alice", None))
    logged_in = door.enter()
    door.log_in(refreshed, "alice@90")
    door.log_in(logged_out, None)
    door.log_in(logged_in, "alice")
    revoke(door, ALICES_TOKEN)
    assert logged_in.closed_with == close_codes.REVOKED
    assert refreshed.closed_with is logged_out.closed_with is None
    revoke(door, RevokeToken("id of alice@90", 1_000))
    assert refreshed.closed_with == close_codes.REVOKED


def test_a_token_that_is_revoked_between_two_rounds_is_refused_in_band(door: Door) -> None:
    connection = door.enter()

    async def revoked_meanwhile() -> None:
        async with door.delivery.between_rounds():
            log_in = door.loop.create_task(door.identities.authenticate(connection, "alice", b"1"))
            for _ in range(10):
                await asyncio.sleep(0)
            revoke(door, ALICES_TOKEN)
        await log_in

    door.loop.run_until_complete(revoked_meanwhile())
    assert connection.messages[-1]["code"] == "unauthenticated"
    assert connection.user is None


def test_another_identity_keeps_what_it_may_hear_and_no_more(door: Door) -> None:
    connection = door.enter(asking("alice+a?b?c", "b", "c"))
    identity = door.log_in(connection, "alice+d?c")
    assert (identity["kind"], identity["topics"]) == ("identity", ["d", "c"])
    for name in "abcd":
        door.publish(topic_audience(name))
    assert topic_events(connection) == ["c", "d"]
    assert door.log_in(connection, "bob")["topics"] == []
    assert "topics" not in door.log_in(connection, "bob")
    door.publish(topic_audience("c"))
    assert topic_events(connection) == ["c", "d"]


def test_another_identity_with_too_many_is_refused_and_changes_nothing(
    loop: ClockworkLoop,
) -> None:
    door = Door(loop, max_topics_per_connection=2)
    connection = door.enter(asking("alice+a?b", "b"))
    answer = door.log_in(connection, "alice+c+d?b")
    assert (answer["kind"], answer["code"]) == ("error", "too_many_topics")
    door.publish(topic_audience("a"))
    assert topic_events(connection) == ["a"]
