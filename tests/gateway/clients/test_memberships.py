"""`clarion_gateway.clients.memberships`: an open connection hears topics from `subscribed` on, until
`unsubscribed`, and what it may not hear is refused.
"""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.events.audience import ALL, topic_audience
from clarion_gateway.clients import memberships as module
from clarion_gateway.clients.admission import Opening
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.wire.messages import Subscribe, Unsubscribe
from tests.gateway.clients.test_admission import Door, asking, topic_events, welcome_of
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder, sample


class House(Door):
    """A pod with clients that subscribe and unsubscribe."""

    def __init__(self, loop: ClockworkLoop, **overrides: Any) -> None:
        super().__init__(loop, **overrides)
        self.memberships = Memberships(
            self.hub,
            self.subscription,
            self.delivery,
            self.admission.topics,
            self.metrics,
            wait_seconds=10,
        )

    def ask(self, connection: Recorder, *topics: str) -> None:
        """Send a message, without waiting for the answer."""
        work = self.memberships.subscribe(connection, Subscribe(topics, b"7"))
        self.loop.create_task(work)

    def subscribe(self, connection: Recorder, *topics: str) -> dict[str, Any]:
        self.ask(connection, *topics)
        self.loop.settle()
        return connection.messages[-1]

    def unsubscribe(self, connection: Recorder, *topics: str) -> dict[str, Any]:
        work = self.memberships.unsubscribe(connection, Unsubscribe(topics, b"8"))
        self.loop.create_task(work)
        self.loop.settle()
        return connection.messages[-1]

    def publish_to(self, *topics: str) -> None:
        for topic in topics:
            self.publish(topic_audience(topic))

    def refused(self, reason: str) -> float:
        return sample(self.metrics, "clarion_topics_refused_total", reason=reason)

    def changes(self, change: str) -> float:
        return sample(self.metrics, "clarion_topic_changes_total", change=change)


@pytest.fixture
def house(loop: ClockworkLoop) -> House:
    return House(loop)


def test_a_connection_hears_what_it_subscribed_to_until_it_unsubscribes(house: House) -> None:
    alice = house.enter(Opening("alice+news?order.*", None))
    house.publish_to("order.1")
    assert house.subscribe(alice, "order.1", "order.2", "order.1") == {
        "kind": "subscribed",
        "ref": 7,
        "id": str(house.delivery.position),
        "topics": ["order.1", "order.2"],
    }
    house.publish_to("order.1", "order.3", "news", "order.2")
    assert house.unsubscribe(alice, "order.1", "order.9") == {
        "kind": "unsubscribed",
        "ref": 8,
        "topics": ["order.1", "order.9"],
    }
    house.publish_to("order.1", "order.2")
    assert topic_events(alice) == ["order.1", "news", "order.2", "order.2"]
    assert (house.changes("subscribe"), house.changes("unsubscribe")) == (2, 1)


def test_a_topic_that_the_token_does_not_grant_is_named(house: House) -> None:
    alice = house.enter(Opening("alice?a", None))
    answer = house.subscribe(alice, "b", "a")
    assert (answer["topics"], answer["forbidden"]) == (["a"], ["b"])
    house.publish_to("a", "b")
    assert topic_events(alice) == ["a"]
    assert house.refused("forbidden") == 1
    nobody = house.enter()
    assert house.subscribe(nobody, "a")["forbidden"] == ["a"]
    assert house.subscribe(nobody)["topics"] == []


def test_a_topic_of_the_token_stays(house: House) -> None:
    alice = house.enter(Opening("alice+a?b", None))
    house.subscribe(alice, "a", "b")
    answer = house.unsubscribe(alice, "a", "b")
    assert (answer["topics"], answer["kept"]) == (["b"], ["a"])
    house.publish_to("a", "b")
    assert topic_events(alice) == ["a"]


@pytest.mark.parametrize(
    ("topics", "code", "reason"),
    [
        (["a", "b.*"], "invalid_topic", "invalid"),
        (["a b"], "invalid_topic", "invalid"),
        (["x" * 129], "invalid_topic", "invalid"),
        (["b", "c"], "too_many_topics", "too_many"),
        ([f"t{number}" for number in range(10_000)], "too_many_topics", "too_many"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    loop: ClockworkLoop, topics: list[str], code: str, reason: str
) -> None:
    house = House(loop, max_topics_per_connection=2)
    alice = house.enter(asking("alice?**", "a"))
    answer = house.subscribe(alice, *topics)
    assert (answer["kind"], answer["ref"], answer["code"]) == ("error", 7, code)
    assert answer["message"].startswith("expected")
    assert house.refused(reason) == 1
    assert alice.topics == ["a"]
    house.publish_to("a", "b")
    assert topic_events(alice) == ["a"]


def test_what_is_no_topic_cannot_be_given_up_either(house: House) -> None:
    alice = house.enter(asking("alice?**", "a"))
    assert house.unsubscribe(alice, "a", "*")["code"] == "invalid_topic"
    assert alice.topics == ["a"]


def test_subscribing_is_answered_once_redis_has_confirmed(house: House) -> None:
    """What is published before the answer may be lost to the client; nothing is afterwards."""
    alice = house.enter(Opening("alice?**", None))
    house.subscriber.lag(0)
    house.ask(alice, "a")
    house.loop.settle()
    assert alice.messages[-1]["kind"] == "welcome"
    assert house.hub.topics == 0
    house.subscriber.arrive(0)
    house.loop.settle()
    assert alice.messages[-1]["kind"] == "subscribed"
    house.publish_to("a")
    assert topic_events(alice) == ["a"]


def test_the_answer_stands_between_two_rounds_and_its_id_is_a_position(house: House) -> None:
    alice = house.enter(Opening("alice?**", None))

    async def in_a_round() -> None:
        async with house.delivery.between_rounds():
            house.ask(alice, "a")
            for _ in range(20):
                await house.loop.create_task(_nothing())
            assert alice.messages[-1]["kind"] == "welcome"

    house.loop.run_until_complete(in_a_round())
    house.loop.settle()
    position = int(alice.messages[-1]["id"])
    house.publish()
    house.publish_to("a")
    house.leave(alice)
    house.publish_to("a")
    again = house.enter(asking("alice?**", "a", since=position))
    assert welcome_of(again)["resumed"] is True
    assert again.event_ids[:2] == alice.event_ids
    assert len(again.event_ids) == 3


def test_a_pod_without_redis_says_so_and_nothing_changes(house: House) -> None:
    alice = house.enter(asking("alice?**", "a"))
    house.bus.down = True
    house.subscriber.cut()
    house.loop.settle()
    house.ask(alice, "b")
    house.loop.advance(11)
    answer = alice.messages[-1]
    assert (answer["kind"], answer["code"]) == ("error", "unavailable")
    assert house.refused("unavailable") == 1
    assert alice.topics == ["a"]


def test_a_client_that_is_gone_is_subscribed_to_nothing(house: House) -> None:
    alice = house.enter(Opening("alice?**", None))
    house.subscriber.lag(0)
    house.ask(alice, "a")
    house.loop.settle()
    house.leave(alice)
    house.subscriber.arrive(0)
    house.loop.settle()
    assert house.hub.topics == house.changes("subscribe") == 0


def test_one_user_cannot_keep_others_from_subscribing(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_UNCONFIRMED_MAX", 40)
    house = House(loop)
    alices = [house.enter(Opening("alice?**", None)) for _ in range(4)]
    bob = house.enter(Opening("bob?**", None))
    house.subscriber.lag(0)
    for number, alice in enumerate(alices):
        house.ask(alice, *(f"t{number}.{topic}" for topic in range(10)))
    house.ask(bob, "b")
    house.loop.settle()
    streams = house.subscription._streams.by_name
    assert sum(name.startswith("topic:t") for name in streams) == 10, "alice's share"
    assert "topic:b" in streams
    house.subscriber.arrive(0)
    house.loop.advance(1)
    assert all(alice.messages[-1]["kind"] == "subscribed" for alice in alices)
    assert bob.messages[-1]["kind"] == "subscribed"


def test_another_identity_keeps_what_it_may_hear(house: House) -> None:
    alice = house.enter(Opening("alice?a?b", None))
    house.subscribe(alice, "a", "b")
    assert house.log_in(alice, "alice?b?c")["topics"] == ["b"]
    house.publish_to("a", "b")
    assert house.log_in(alice, "alice?a")["topics"] == []
    house.publish_to("a", "b")
    assert topic_events(alice) == ["b"]


def test_events_of_other_audiences_go_on_while_topics_come_and_go(house: House) -> None:
    alice = house.enter(Opening("alice?**", None))
    ids = []
    for number in range(20):  # past the number of streams that a tuple holds
        house.subscribe(alice, f"t{number}")
        ids += house.publish(ALL)
    for number in range(20):
        house.unsubscribe(alice, f"t{number}")
        ids += house.publish(ALL)
    assert alice.event_ids == ids
    assert house.hub.topics == 0


async def _nothing() -> None:
    """One step of the event loop."""
