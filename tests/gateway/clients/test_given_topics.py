"""`clarion_gateway.clients.given_topics`: a user's live connections hear what publishers give them."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.bus.orders import ChangeSelectedTopics, ChangeTopics, encode_order
from clarion_gateway.clients.given_topics import GivenTopics
from clarion_gateway.clients.opening import Opening
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import State
from tests.gateway.clients.test_admission import topic_events
from tests.gateway.clients.test_memberships import House
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder

LATER = 1e12


class Given(House):
    """A pod that takes orders."""

    def __init__(self, loop: ClockworkLoop, **overrides: Any) -> None:
        super().__init__(loop, **overrides)
        self.given = GivenTopics(
            self.hub,
            self.subscription,
            self.delivery,
            self.topics,
            self.remembered,
            self.metrics,
        )
        self.revocations.change_topics = self.given.order
        loop.create_task(self.given.run())
        self._orders = 0

    def order(self, *add: str, remove: tuple[str, ...] = (), user: str = "alice") -> bytes:
        """An order to all gateways comes in; returns it."""
        self._orders += 1
        text = encode_order(ChangeTopics(str(self._orders), user, add, remove, LATER))
        self.revocations.hear(text)
        self.loop.settle()
        return text


@pytest.fixture
def pod(loop: ClockworkLoop) -> Given:
    return Given(loop)


def told(connection: Recorder, kind: str) -> list[dict[str, Any]]:
    return [message for message in connection.messages if message["kind"] == kind]


def test_all_connections_of_the_user_hear_it_until_it_is_taken_away(pod: Given) -> None:
    alices = [pod.enter(Opening("alice+news", None)) for _ in range(2)]
    bob = pod.enter(Opening("bob", None))
    pod.publish_to("order.1")
    pod.order("order.1", "order.2")
    pod.publish_to("order.1", "order.2", "news")
    pod.order(remove=("order.1", "order.9"))
    pod.publish_to("order.1", "order.2")
    for alice in alices:
        assert topic_events(alice) == ["order.1", "order.2", "news", "order.2"]
        (begun,), (ended,) = told(alice, "subscribed"), told(alice, "unsubscribed")
        assert (begun["ref"], begun["topics"]) == (None, ["order.1", "order.2"])
        assert begun["id"].isdecimal()
        assert (ended["ref"], ended["topics"]) == (None, ["order.1"])
    assert topic_events(bob) == []
    assert (pod.changes("give"), pod.changes("take")) == (4, 2)


def test_an_order_is_carried_out_once(pod: Given) -> None:
    """A pod that finds its way back to Redis reads all orders again."""
    alice = pod.enter(Opening("alice", None))
    order = pod.order("a")
    pod.order(remove=("a",))
    pod.revocations.hear(order)
    pod.loop.settle()
    pod.publish_to("a")
    assert topic_events(alice) == []
    assert len(told(alice, "subscribed")) == 1


def test_selected_connections_hear_it_whoever_they_are(pod: Given) -> None:
    inside = pod.enter(Opening("alice+room", None))
    barred = pod.enter(Opening("alice+room,barred", None))
    named, outside = pod.enter(Opening("bob", None)), pod.enter(Opening("bob", None))
    any_of, none_of = ("topic:room", named.id), ("topic:barred", "stranger")
    pod.revocations.hear(
        encode_order(ChangeSelectedTopics("1", any_of, none_of, ("more", "bad name"), (), LATER))
    )
    pod.loop.settle()
    pod.publish_to("more")
    assert topic_events(inside) == topic_events(named) == ["more"]
    assert topic_events(barred) == topic_events(outside) == []


def test_whatever_changes_nothing_is_not_told(pod: Given) -> None:
    alice = pod.enter(Opening("alice+a", None))
    pod.order("a", remove=("b",))
    assert not told(alice, "subscribed")
    assert not told(alice, "unsubscribed")


def test_topics_of_the_token_stay(pod: Given) -> None:
    alice = pod.enter(Opening("alice+a?b", None))
    pod.subscribe(alice, "b")
    pod.order(remove=("a", "b"))
    (ended,) = told(alice, "unsubscribed")
    assert (ended["topics"], ended["kept"]) == (["b"], ["a"])
    pod.publish_to("a", "b")
    assert topic_events(alice) == ["a"]


def test_a_new_token_of_the_same_user_changes_nothing_and_another_user_loses_them(
    pod: Given,
) -> None:
    alice = pod.enter(Opening("alice+a", None))
    pod.order("a", "given")
    assert pod.log_in(alice, "alice+b")["topics"] == ["b", "a", "given"]
    pod.publish_to("given", "a")
    assert topic_events(alice) == ["given", "a"]
    assert pod.log_in(alice, "bob+b")["topics"] == ["b"]
    pod.publish_to("given")
    assert topic_events(alice) == ["given", "a"]


def test_a_connection_that_is_full_gets_none_and_the_others_do(loop: ClockworkLoop) -> None:
    pod = Given(loop, max_topics_per_connection=2)
    full, other = pod.enter(Opening("alice+a+b", None)), pod.enter(Opening("alice", None))
    pod.order("c", "d")
    pod.publish_to("c")
    assert (topic_events(full), topic_events(other)) == ([], ["c"])
    assert pod.refused("too_many") == 1
    assert full.state is State.LIVE


def test_a_connection_that_catches_up_is_told_after_its_welcome(pod: Given) -> None:
    since = str(pod.publish()[0])
    pod.publish()
    slow = pod.stall(Opening("alice", since))
    live = pod.enter(Opening("alice", None))
    pod.order("a", "b")
    pod.order(remove=("a",))
    assert told(live, "subscribed")
    assert not told(slow, "subscribed")
    slow.taking.set()
    pod.loop.advance(1)
    kinds = [message["kind"] for message in slow.messages]
    assert kinds == ["welcome", "event", "subscribed", "unsubscribed"]
    pod.publish_to("a", "b")
    assert topic_events(slow) == ["b"]


def test_one_that_is_gone_or_somebody_else_by_then_is_passed_over(pod: Given) -> None:
    gone, other = pod.enter(Opening("alice", None)), pod.enter(Opening("alice", None))
    pod.loop.run_until_complete(pod.delivery.between_rounds().acquire())
    pod.order("a")
    gone.close(close_codes.DRAINING)
    pod.leave(gone)
    pod.hub.identify(other, other.identity.__class__("bob"))
    pod.delivery.between_rounds().release()
    pod.loop.settle()
    assert not told(gone, "subscribed")
    assert not told(other, "subscribed")


def test_names_of_a_later_version_harm_nobody(pod: Given) -> None:
    alice = pod.enter(Opening("alice", None))
    pod.order("{}", "a")
    pod.publish_to("a")
    assert topic_events(alice) == ["a"]
