"""The memory for bodies, and its division between callers."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.identity.claims import Claims
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.body_budget import BodyBudget, owner_of
from clarion_publisher.sources.http.problems import HttpRefusal
from tests.publisher.service import bearer, serving, token


def fill(budget: BodyBudget, caller: str, size: int) -> int:
    """Add bodies of that size until the caller is refused; return how many were accepted."""
    for count in range(1_000):
        share = budget.hold(caller)
        try:
            share.arrive(size)
        except HttpRefusal as refusal:
            assert refusal.row is problems.OVERLOADED
            assert refusal.retry_after_seconds == 1
            return count
    raise AssertionError("expected an end")


def test_one_caller_leaves_half() -> None:
    budget = BodyBudget(max_bytes=8, total_max_bytes=100)
    assert fill(budget, "greedy", 8) == 6
    assert fill(budget, "greedy too", 8) == 3
    assert fill(budget, "honest", 8) >= 1


def test_each_caller_may_have_one_body_while_there_is_room() -> None:
    budget = BodyBudget(max_bytes=10, total_max_bytes=30)
    assert [fill(budget, caller, 10) for caller in "abcd"] == [1, 1, 1, 0]


def test_one_body_may_be_all_that_there_is() -> None:
    """The settings allow one body to take all the memory."""
    budget = BodyBudget(max_bytes=10, total_max_bytes=10)
    assert fill(budget, "orders", 10) == 1


def test_what_is_let_go_is_free_again() -> None:
    budget = BodyBudget(max_bytes=10, total_max_bytes=10)
    share = budget.hold("a")
    share.arrive(6)
    share.arrive(4)
    assert budget.held_bytes == 10
    share.let_go()
    share.let_go()
    assert budget.held_bytes == 0
    assert not budget._held_by
    budget.hold("b").arrive(10)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 12))))
def test_never_more_than_the_total_nor_one_body_too_large(steps: list[tuple[str, int]]) -> None:
    budget = BodyBudget(max_bytes=10, total_max_bytes=40)
    shares = []
    for caller, size in steps:
        share = budget.hold(caller)
        try:
            share.arrive(size)
        except HttpRefusal:
            assert share.size == 0
        shares.append(share)
        assert share.size <= 10
        assert budget.held_bytes == sum(each.size for each in shares) <= 40
    for share in shares:
        share.let_go()
    assert budget.held_bytes == 0


def test_those_who_may_do_nothing_share_one_share() -> None:
    scopes = (set(), {"other"}, {"publish:all"}, {"publish:topic:order.*"}, {"users:read"})
    owners = [owner_of(Claims("alice", frozenset(each), 0.0)) for each in scopes]
    assert owners == ["", "", "alice", "alice", "alice"]


EVENT = {"audience": "all", "type": "t", "data": 1}


@pytest.mark.parametrize("sends", [0, 60_000], ids=["nothing of them", "most of them"])
def test_one_producer_does_not_lock_out_the_others(redis_url: str, sends: int) -> None:
    """Many connections announce large bodies and stop; meanwhile another producer publishes."""
    limits = {"body_max_bytes": 65_536, "bodies_max_bytes": 1 << 20}
    with serving(redis_url, **limits) as service, ExitStack() as stack:
        head = (
            f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('greedy')}\r\n"
            "Content-Type: application/json\r\nContent-Length: 65536\r\n\r\n"
        )
        for _ in range(32):
            greedy = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            greedy.sendall(head.encode() + b" " * sends)
        with service.client() as client:
            for _ in range(20):
                answer = client.post("/v1/events", json=EVENT, headers=bearer("honest"))
                assert answer.status_code == 201, answer.text
            large = json.dumps(EVENT).encode() + b" " * 60_000
            answer = client.post("/v1/events", content=large, headers=bearer("honest"))
            assert answer.status_code == 201, answer.text
        held = service.metric("clarion_publisher_body_bytes")
        assert (held > 0) is bool(sends)
