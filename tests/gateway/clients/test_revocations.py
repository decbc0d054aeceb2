"""`clarion_gateway.clients.revocations.Revocations`: which tokens are revoked, and which
connections are closed.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.bus.orders import (
    Disconnect,
    DisconnectSelected,
    Order,
    RevokeToken,
    RevokeUser,
    decode_order,
    encode_order,
)
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.identity.claims import Claims
from clarion_gateway.clients.revocations import Revocations
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import Identity
from tests.gateway.memory_orders import MemoryOrders
from tests.gateway.recorder import Recorder, metrics, sample

NOW = 1_000.0
LATER = NOW + 600
ONE = RevokeToken("one", LATER)
BEFORE_NOW = RevokeUser("alice", NOW, LATER)
FAREWELL = Disconnect("1", "alice", "see you", True, LATER)


def claims(
    user: str = "alice", token_id: str | None = None, issued_at: float | None = NOW
) -> Claims:
    return Claims(user, frozenset(), LATER, token_id, issued_at)


class Bench:
    """Revocations with a hub, a clock that the test sets, and Redis in memory."""

    def __init__(self, *kept: Order, leeway_seconds: float = 0.0) -> None:
        self.now = NOW
        self.hub = Hub()
        self.metrics = metrics()
        self.orders = MemoryOrders(*kept)
        self.revocations = Revocations(
            self.orders,
            self.hub,
            self.metrics,
            leeway_seconds=leeway_seconds,
            clock=lambda: self.now,
        )

    def connect(
        self, user: str = "alice", token_id: str | None = None, issued_at: float | None = NOW
    ) -> Recorder:
        connection = Recorder(user)
        self.hub.add(connection, Identity(user, None, token_id, issued_at))
        return connection

    def hear(self, *orders: Order) -> None:
        self.revocations.hear(b"\n".join(encode_order(order) for order in orders))


def test_a_token_is_revoked_by_its_id_whoever_holds_it() -> None:
    bench = Bench()
    holder, other = bench.connect(token_id="one"), bench.connect(token_id="two")
    without = bench.connect()
    bench.hear(ONE)
    assert bench.revocations.refusal(claims(token_id="one"))
    assert not bench.revocations.refusal(claims(token_id="two"))
    assert not bench.revocations.refusal(claims())
    assert holder.closed_with == close_codes.REVOKED
    assert other.closed_with is without.closed_with is None


def test_orders_that_come_together_are_all_carried_out() -> None:
    bench = Bench()
    holders = [bench.connect(token_id=f"{number}") for number in range(3)]
    last = bench.connect("bob", token_id="three")
    bench.hear(*(RevokeToken(f"{number}", LATER) for number in range(100)), BEFORE_NOW)
    assert [holder.closed_with for holder in holders] == [close_codes.REVOKED] * 3
    assert sample(bench.metrics, "clarion_orders_total", order="revoke_token") == 100
    assert last.closed_with is None


def test_a_users_tokens_are_revoked_by_when_they_were_issued() -> None:
    """A token without ``iat`` counts as old: it cannot be told from one that is."""
    bench = Bench()
    old, undated = bench.connect(issued_at=NOW - 1), bench.connect(issued_at=None)
    fresh, other = bench.connect(issued_at=NOW), bench.connect("bob", issued_at=NOW - 1)
    bench.hear(BEFORE_NOW)
    assert bench.revocations.refusal(claims(issued_at=NOW - 1))
    assert bench.revocations.refusal(claims(issued_at=None))
    assert not bench.revocations.refusal(claims(issued_at=NOW))
    assert not bench.revocations.refusal(claims("bob", issued_at=NOW - 1))
    assert old.closed_with == undated.closed_with == close_codes.REVOKED
    assert fresh.closed_with is other.closed_with is None


@pytest.mark.parametrize(
    ("issued_at", "refusal"),
    [
        (NOW - 1, close_codes.REVOKED),
        (NOW, close_codes.ISSUED_TOO_SOON),
        (NOW + 0.25, close_codes.REVOKED),
        (NOW + 0.5, None),
        (NOW + 0.75, None),
        (NOW + 1, None),
        (None, close_codes.REVOKED),
    ],
)
def test_in_the_second_of_a_revocation_the_fraction_decides(
    issued_at: float | None, refusal: Close | None
) -> None:
    """Without a fraction, the token may be old: it is refused, but not for good."""
    bench = Bench()
    connection = bench.connect(issued_at=issued_at)
    bench.hear(RevokeUser("alice", NOW + 0.5, LATER))
    assert bench.revocations.refusal(claims(issued_at=issued_at)) == refusal
    assert connection.closed_with == (refusal and close_codes.REVOKED)


def test_a_token_of_that_second_is_refused_for_good_once_it_is_over_by_any_clock() -> None:
    bench = Bench(leeway_seconds=5)
    bench.hear(RevokeUser("alice", NOW + 0.5, LATER))
    bench.now = NOW + 5.9
    assert bench.revocations.refusal(claims(issued_at=NOW)) == close_codes.ISSUED_TOO_SOON
    bench.now = NOW + 6
    assert bench.revocations.refusal(claims(issued_at=NOW)) == close_codes.REVOKED


def test_a_moment_without_a_fraction_lets_the_tokens_of_its_second_pass() -> None:
    bench = Bench()
    bench.hear(BEFORE_NOW)
    assert bench.revocations.refusal(claims(issued_at=NOW)) is None


def test_of_two_moments_the_later_one_counts_in_whatever_order_they_come() -> None:
    bench = Bench()
    bench.hear(RevokeUser("alice", NOW, LATER + 2))
    bench.hear(RevokeUser("alice", NOW - 5, LATER))
    assert bench.revocations.refusal(claims(issued_at=NOW - 1))
    assert len(bench.revocations) == 1


@pytest.mark.parametrize("order", [ONE, BEFORE_NOW, FAREWELL])
def test_an_order_that_stands_in_redis_twice_in_other_words_ends_once(order: Order) -> None:
    bench = Bench()
    text = encode_order(order)
    bench.revocations.hear(text + b"\n" + text.replace(b":", b": ") + b"\n" + text + b" ")
    bench.now = LATER + 1
    bench.revocations.forget_ended()
    assert len(bench.revocations) == 0


@pytest.mark.parametrize(
    ("order", "code", "reason", "reconnect"),
    [
        (FAREWELL, 4409, "see you", True),
        (Disconnect("1", "alice", None, True, LATER), 4409, "disconnected, reconnect", True),
        (Disconnect("1", "alice", "banned", False, LATER), 4403, "banned", False),
        (Disconnect("1", "alice", "", False, LATER), 4403, "disconnected, do not come back", False),
    ],
)
def test_a_user_is_disconnected_with_a_reason(
    order: Disconnect, code: int, reason: str, reconnect: bool
) -> None:
    bench = Bench()
    alices, bob = [bench.connect(), bench.connect()], bench.connect("bob")
    bench.hear(order)
    for alice in alices:
        assert alice.closed_with is not None
        assert (alice.closed_with.code, alice.closed_with.reason) == (code, reason)
        assert alice.closed_with.reconnect is reconnect
    assert bob.closed_with is None


def test_orders_in_one_message_are_carried_out_in_their_order() -> None:
    """A disconnected user hears the reason, and cannot return with the revoked token."""
    bench = Bench()
    alice = bench.connect(issued_at=NOW - 1)
    bench.hear(FAREWELL, BEFORE_NOW)
    assert alice.closed_with is not None
    assert alice.closed_with.reason == "see you"
    assert bench.revocations.refusal(claims(issued_at=NOW - 1))


def test_an_order_is_carried_out_once() -> None:
    """It may be heard twice or found in Redis again; a client that returned meanwhile stays."""
    bench = Bench()
    bench.hear(FAREWELL)
    alice = bench.connect()
    bench.hear(FAREWELL)
    assert alice.closed_with is None
    assert sample(bench.metrics, "clarion_orders_total", order="disconnect") == 1


async def test_a_pod_that_was_away_carries_out_what_it_finds() -> None:
    bench = Bench(FAREWELL, ONE)
    alice, holder = bench.connect(), bench.connect("bob", "one")
    await bench.revocations.load()
    assert alice.closed_with is not None
    assert holder.closed_with == close_codes.REVOKED
    back = bench.connect()
    await bench.revocations.load()
    assert back.closed_with is None


async def test_redis_gets_back_what_it_lost() -> None:
    bench = Bench()
    bench.hear(ONE, BEFORE_NOW)
    await bench.revocations.load()
    assert {decode_order(text) for text in bench.orders.kept} == {ONE, BEFORE_NOW}


async def test_redis_does_not_get_back_what_has_ended() -> None:
    bench = Bench()
    bench.hear(ONE)
    bench.now = LATER
    await bench.revocations.load()
    assert bench.orders.kept == []


async def test_a_redis_that_is_full_keeps_nobody_from_starting() -> None:
    bench = Bench()
    bench.hear(ONE)
    bench.orders.full = True
    await bench.revocations.load()
    assert bench.revocations.refusal(claims(token_id="one"))


async def test_a_redis_that_is_away_is_said_to_be() -> None:
    """The pod must not take tokens before it knows which are revoked."""
    bench = Bench()
    bench.orders.down = True
    with pytest.raises(BusUnavailable):
        await bench.revocations.load()


def test_what_has_ended_is_forgotten() -> None:
    bench = Bench()
    bench.hear(ONE, BEFORE_NOW, RevokeToken("two", LATER + 1), FAREWELL)
    assert len(bench.revocations) == 3
    bench.now = LATER
    bench.revocations.forget_ended()
    assert len(bench.revocations) == 1
    assert not bench.revocations.refusal(claims(token_id="one"))
    assert bench.revocations.refusal(claims(token_id="two"))


def test_a_token_revoked_twice_stays_revoked_until_the_later_end() -> None:
    for first, second in (
        (ONE, RevokeToken("one", LATER + 9)),
        (RevokeToken("one", LATER + 9), ONE),
    ):
        bench = Bench()
        bench.hear(first, second)
        bench.now = LATER
        bench.revocations.forget_ended()
        assert bench.revocations.refusal(claims(token_id="one"))
        bench.now = LATER + 9
        bench.revocations.forget_ended()
        assert not bench.revocations.refusal(claims(token_id="one"))


def test_what_is_no_order_is_counted_and_passed_over() -> None:
    bench = Bench()
    bench.revocations.hear(b'nonsense\n{"order":"dance"}\n' + encode_order(ONE))
    assert bench.revocations.refusal(claims(token_id="one"))
    assert sample(bench.metrics, "clarion_bus_messages_invalid_total") == 2


def test_two_revocations_of_a_user_last_until_the_later_end() -> None:
    """The newer one ended first: gateways died of it, and the user's old token was let in."""
    bench = Bench()
    bench.hear(RevokeUser("alice", NOW - 100, NOW + 600))
    bench.hear(RevokeUser("alice", NOW - 50, NOW + 60))
    bench.now = NOW + 61
    bench.revocations.forget_ended()
    assert bench.revocations.refusal(claims(issued_at=NOW - 200))
    bench.now = NOW + 601
    bench.revocations.forget_ended()
    assert not bench.revocations.refusal(claims(issued_at=NOW - 200))
    assert len(bench.revocations) == 0


def test_two_revocations_of_a_token_last_until_the_later_end() -> None:
    for ends in ((60, 600), (600, 60)):
        bench = Bench()
        bench.hear(*(RevokeToken("one", NOW + end) for end in ends))
        bench.now = NOW + 61
        bench.revocations.forget_ended()
        assert bench.revocations.refusal(claims(token_id="one"))
        bench.now = NOW + 601
        bench.revocations.forget_ended()
        assert not bench.revocations.refusal(claims(token_id="one"))


_MOMENTS = st.integers(-5, 5).map(lambda seconds: NOW + seconds)
_REVOCATIONS = st.builds(RevokeUser, st.sampled_from(["alice", "bob"]), _MOMENTS, _MOMENTS) | (
    st.builds(RevokeToken, st.sampled_from(["one", "two"]), _MOMENTS)
)


@given(st.lists(_REVOCATIONS | _MOMENTS, max_size=12))
def test_whatever_redis_holds_no_order_in_force_is_forgotten(steps: list[Order | float]) -> None:
    """Contradicting orders, in any sequence, with time passing between them."""
    bench = Bench()
    given_orders: list[Order] = []
    for step in steps:
        if isinstance(step, float):
            bench.now = max(bench.now, step)
            bench.revocations.forget_ended()
        else:
            bench.hear(step)
            given_orders.append(step)
        in_force = [order for order in given_orders if order.expires_at > bench.now]
        for order in in_force:
            if isinstance(order, RevokeUser):
                old = claims(order.user, issued_at=order.issued_before - 1)
            else:
                assert isinstance(order, RevokeToken)
                old = claims("carol", token_id=order.token_id)
            assert bench.revocations.refusal(old)
    bench.now = NOW + 10
    bench.revocations.forget_ended()
    assert len(bench.revocations) == 0


def test_selected_connections_are_disconnected() -> None:
    bench = Bench()
    alice, bob, carol = bench.connect("alice"), bench.connect("bob"), bench.connect("carol")
    order = DisconnectSelected("1", ("user:alice", bob.id, "topic:x"), ("user:carol",), LATER)
    bench.revocations.hear(encode_order(order))
    assert alice.closed_with == bob.closed_with == close_codes.BARRED
    assert carol.closed_with is None
    dave = bench.connect("dave")
    bench.revocations.hear(encode_order(DisconnectSelected("2", ("all",), (dave.id,), LATER)))
    assert carol.closed_with == close_codes.BARRED
    assert dave.closed_with is None
