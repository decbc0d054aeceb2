"""`clarion_gateway.clients.memberships`: an open connection hears topics from `subscribed` on, until
`unsubscribed`, and what it may not hear is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from clarion_contract.events.audience import ALL, topic_audience
from clarion_contract.events.event import Publication
from clarion_contract.events.topic import InvalidTopic
from clarion_gateway.application.context import Context, SubscribeContext
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.application.scope import Scope
from clarion_gateway.clients import memberships as module
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.recall import Recall
from clarion_gateway.wire.messages import Subscribe, Unsubscribe
from clarion_gateway.wire.sse import SSE
from tests.gateway.clients.test_admission import Door, asking, topic_events, welcome_of
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder, sample


class House(Door):
    """A pod with clients that subscribe and unsubscribe."""

    def __init__(
        self,
        loop: ClockworkLoop,
        *,
        max_events: int = 1_000,
        max_bytes: int = 1 << 20,
        **overrides: Any,
    ) -> None:
        super().__init__(loop, **overrides)
        self.memberships = Memberships(
            self.hub,
            self.subscription,
            self.delivery,
            self.topics,
            self.grants,
            Recall(
                self.rings,
                self.subscription,
                self.delivery,
                self.room,
                max_events=max_events,
                max_bytes=max_bytes,
            ),
            self.remembered,
            self.metrics,
            wait_seconds=10,
        )
        self.host.memberships = self.memberships

    def context(self, connection: Recorder) -> Context:
        """What a handler gets for a message of a connection."""
        return Context(connection.id, connection.user, "pod", self.host, Scope(), connection, "t")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        done = self.loop.run_until_complete(work)
        self.loop.settle()
        return done

    def ask(self, connection: Recorder, *topics: str, **past: Any) -> None:
        """Send a message, without waiting for the answer."""
        work = self.memberships.subscribe(connection, Subscribe(topics, b"7", **past))
        self.loop.create_task(work)

    def subscribe(self, connection: Recorder, *topics: str, **past: Any) -> dict[str, Any]:
        self.ask(connection, *topics, **past)
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

    def hooked(self, outcome: str) -> float:
        labels = {"hook": "subscribe", "outcome": outcome}
        return sample(self.metrics, "clarion_hooks_total", **labels)

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


def test_connections_share_what_stands_for_a_topic(house: House) -> None:
    """Each further membership of a topic must take little memory."""
    alice, bob = (house.enter(asking(f"{user}?**", "a")) for user in ("alice", "bob"))
    for connection in (alice, bob):
        house.subscribe(connection, "b")
    assert [*map(id, alice.asked)] == [*map(id, bob.asked)]
    assert len(alice.asked) == 2


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


def told(answer: dict[str, Any]) -> list[int]:
    return [int(event["id"]) for event in answer["events"]]


class TestThePast:
    def test_the_last_events_stand_in_the_answer_and_never_come_live(self, house: House) -> None:
        ids = {name: house.publish(topic_audience(name), count=3) for name in "ab"}
        alice = house.enter(Opening("alice?**", None))
        answer = house.subscribe(alice, "a", "b", "c", last=2)
        assert told(answer) == ids["a"][1:] + ids["b"][1:]
        assert answer["events"][0] == {
            "kind": "event",
            "id": str(ids["a"][1]),
            "audience": "topic",
            "topic": "a",
            "type": "tick",
            "time": answer["events"][0]["time"],
            "data": {},
        }
        assert "not_resumed" not in answer
        assert alice.event_ids == []
        live = house.publish(topic_audience("a"))
        assert alice.event_ids == live
        assert told(house.subscribe(alice, "a", last=2)) == [ids["a"][2], *live]
        assert "events" not in house.subscribe(alice, "a")

    def test_the_last_events_are_those_for_the_client(self, house: House) -> None:
        """Its own messages, which exclude it, do not count."""
        ids = house.publish(topic_audience("a"), count=4)
        alice = house.enter(Opening("alice?**", None))
        for _ in range(5):
            own = Publication(topic_audience("a"), "tick", b"{}", exclude=alice.id)
            house.bus.publish(own)
        house.loop.settle()
        assert told(house.subscribe(alice, "a", last=2)) == ids[2:]
        assert told(house.subscribe(alice, "a", last=9)) == ids

    def test_the_events_since_an_id_stand_in_the_answer(self, house: House) -> None:
        ids = house.publish(topic_audience("a"), count=4)
        alice = house.enter(Opening("alice?**", None))
        assert told(house.subscribe(alice, "a", since=str(ids[1]))) == ids[2:]
        assert told(house.subscribe(alice, "a", since=str(ids[0]))) == ids[1:]
        assert told(house.subscribe(alice, "a", since=str(ids[3]))) == []

    def test_a_history_that_does_not_reach_back_is_named_and_not_told(self, house: House) -> None:
        ids = {name: house.publish(topic_audience(name), count=4) for name in "ab"}
        house.bus.trim("topic:a", 2)
        alice = house.enter(Opening("alice?**", None))
        since = str(ids["a"][0])
        answer = house.subscribe(alice, "a", "b", since=since)
        assert answer["not_resumed"] == ["a"]
        assert told(answer) == ids["b"]
        assert told(house.subscribe(alice, "a", last=9)) == ids["a"][2:]
        assert sample(house.metrics, "clarion_topics_not_resumed_total") == 1
        live = house.publish(topic_audience("a"))
        assert alice.event_ids == live

    def test_a_position_of_the_future_resumes_nothing(self, house: House) -> None:
        house.publish(topic_audience("a"))
        alice = house.enter(Opening("alice?**", None))
        answer = house.subscribe(alice, "a", since=str(house.bus.now + 1_000_000))
        assert (answer["topics"], answer["not_resumed"], answer["events"]) == (["a"], ["a"], [])

    @pytest.mark.parametrize(
        ("past", "code"),
        [
            ({"last": 1_000_000}, "invalid_last"),
            ({"last": 0}, "invalid_last"),
            ({"last": -1}, "invalid_last"),
            ({"last": 1, "since": "1"}, "invalid_last"),
            ({"since": "yesterday"}, "invalid_since"),
            ({"since": ""}, "invalid_since"),
        ],
    )
    def test_a_past_that_cannot_be_is_refused(
        self, house: House, past: dict[str, Any], code: str
    ) -> None:
        alice = house.enter(Opening("alice?**", None))
        answer = house.subscribe(alice, "a", **past)
        assert (answer["kind"], answer["code"]) == ("error", code)
        assert answer["message"].startswith("expected")
        assert house.refused("invalid") == 1
        assert alice.topics == []

    def test_one_answer_holds_so_many_events_and_bytes(self, loop: ClockworkLoop) -> None:
        house = House(loop, max_events=6)
        ids = {name: house.publish(topic_audience(name), count=5) for name in "ab"}
        alice = house.enter(Opening("alice?**", None))
        answer = house.subscribe(alice, "a", "b", last=5)
        assert told(answer) == ids["a"][2:] + ids["b"][2:], "the newest of each"
        answer = house.subscribe(alice, "a", "b", since=str(ids["a"][2]))
        assert (answer["not_resumed"], told(answer)) == (["b"], ids["a"][3:])
        small = House(loop, max_bytes=1_000)
        ids["a"] = small.publish(topic_audience("a"), count=5)
        alice = small.enter(Opening("alice?**", None))
        assert told(small.subscribe(alice, "a", last=5)) == ids["a"][3:]

    def test_an_event_that_excludes_the_connection_is_not_told(self, house: House) -> None:
        alice = house.enter(Opening("alice?**", None))
        house.bus.publish(Publication(topic_audience("a"), "chat", b"{}", exclude=alice.id))
        others = house.publish(topic_audience("a"))
        assert told(house.subscribe(alice, "a", last=2)) == others

    def test_no_event_falls_between_the_past_and_the_first_live_one(self, house: House) -> None:
        """Whatever step of reading and answering an event is published at."""
        for steps in range(40):
            alice = house.enter(Opening("alice?**", None))
            topic = f"t{steps}"
            ids = [house.bus.publish(Publication(topic_audience(topic), "t", b"{}")).id]
            house.ask(alice, topic, last=9)
            house.loop.run(steps)
            ids.append(house.bus.publish(Publication(topic_audience(topic), "t", b"{}")).id)
            house.loop.settle()
            assert told(alice.messages[1]) + alice.event_ids == ids

    def test_events_that_are_lost_while_the_past_is_read_are_read_again(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = house.publish(topic_audience("a"), count=2)
        read = house.bus.newest
        reads = 0

        async def newest(*args: Any, **options: Any) -> Any:
            nonlocal reads
            reads += 1
            found = await read(*args, **options)
            if reads == 1:
                house.delivery.forget_topics()
                ids.append(house.bus.publish(Publication(topic_audience("a"), "t", b"{}")).id)
            return found

        monkeypatch.setattr(house.bus, "newest", newest)
        alice = house.enter(Opening("alice?**", None))
        house.ask(alice, "a", last=9)
        house.loop.settle()
        assert reads == 2
        assert told(alice.messages[1]) + alice.event_ids == ids

    def test_of_a_topic_that_the_pod_gave_up_the_past_is_read_anew(self, house: House) -> None:
        alice = house.enter(Opening("alice?**", None))
        house.subscribe(alice, "a", last=9)
        house.unsubscribe(alice, "a")
        for _ in range(2):
            house.loop.run_until_complete(house.subscription.prune(house.hub.named_streams, 0))
        ids = house.publish(topic_audience("a"), count=2)
        assert told(house.subscribe(alice, "a", last=9)) == ids

    def test_past_a_loss_nobody_is_told_that_nothing_is_missing(self, house: House) -> None:
        ids = house.publish(topic_audience("a"), count=2)
        alice = house.enter(asking("alice?**", "a"))
        assert told(house.subscribe(alice, "a", last=9)) == ids
        house.subscriber.cut()
        house.publish(topic_audience("a"), count=3)
        house.bus.trim("topic:a", 1)
        house.loop.advance(1)
        assert house.gaps
        bob = house.enter(Opening("bob?**", None))
        assert house.subscribe(bob, "a", since=str(ids[0]))["not_resumed"] == ["a"]
        again = house.enter(asking("bob?**", "a", since=ids[0]))
        assert welcome_of(again)["not_resumed"] == ["a"]


class TestTheApplication:
    def test_it_decides_about_what_the_token_does_not_grant(self, house: House) -> None:
        seen: list[tuple[str | None, str]] = []

        @house.decides("room.*")
        async def enter(context: SubscribeContext) -> bool | None:
            seen.append((context.user, context.topic))
            if context.topic == "room.full":
                raise Refusal("full", "the room is full")
            return {"room.mine": True, "room.any": None}.get(context.topic, False)

        alice = house.enter(Opening("alice?room.token", None))
        names = [f"room.{each}" for each in ("token", "mine", "any", "full", "theirs")]
        answer = house.subscribe(alice, *names, "other")
        assert answer["topics"] == names[:3]
        assert answer["forbidden"] == ["room.theirs", "other"]
        assert answer["refused"] == [
            {"topic": "room.full", "code": "full", "message": "the room is full"}
        ]
        assert seen == [("alice", name) for name in names[1:]]
        house.publish_to(*names)
        assert topic_events(alice) == names[:3]
        assert (house.refused("forbidden"), house.refused("refused")) == (2, 1)
        assert house.hooked("done") == 2
        assert house.hooked("refused") == 2

    def test_the_first_function_whose_pattern_covers_the_topic_decides(self, house: House) -> None:
        @house.decides("room.1")
        async def first(context: SubscribeContext) -> bool:
            return True

        @house.decides("room.*")
        async def rest(context: SubscribeContext) -> bool:
            return False

        alice = house.enter(Opening("alice", None))
        answer = house.subscribe(alice, "room.1", "room.2")
        assert (answer["topics"], answer["forbidden"]) == (["room.1"], ["room.2"])

    @pytest.mark.parametrize(
        ("how", "code"),
        [
            ("raises", "internal"),
            ("hangs", "timeout"),
            ("cancels", "internal"),
            ("word", "internal"),
        ],
    )
    def test_a_function_that_fails_refuses_its_topic_only(
        self, house: House, how: str, code: str
    ) -> None:
        @house.decides("bad.*")
        async def bad(context: SubscribeContext) -> Any:
            if how == "raises":
                raise ZeroDivisionError
            if how == "hangs":
                await asyncio.Event().wait()
            if how == "cancels":
                raise asyncio.CancelledError
            return "yes"

        @house.decides("good.*")
        async def good(context: SubscribeContext) -> None: ...

        alice, bob = (house.enter(Opening(user, None)) for user in ("alice", "bob"))
        house.ask(alice, "bad.1", "good.1")
        house.ask(bob, "good.2")
        house.loop.settle()
        assert bob.messages[-1]["topics"] == ["good.2"]
        house.loop.advance(2.1)
        answer = alice.messages[-1]
        assert answer["topics"] == ["good.1"]
        (refused,) = answer["refused"]
        assert (refused["topic"], refused["code"]) == ("bad.1", code)
        assert "ZeroDivision" not in refused["message"]
        assert house.refused(code) == house.hooked(code) == 1
        assert alice.closed_with is None

    def test_it_decides_at_the_handshake_too(self, house: House) -> None:
        @house.decides("room.*")
        async def enter(context: SubscribeContext) -> bool:
            if context.topic == "room.full":
                raise Refusal("full", "the room is full")
            return context.user == "alice"

        since = int(welcome_of(house.enter())["id"])
        (missed,) = house.publish(topic_audience("room.1"))
        alice = house.enter(asking("alice", "room.1", "room.full", since=since))
        welcome = welcome_of(alice)
        assert (welcome["topics"], welcome["refused"][0]["code"]) == (["room.1"], "full")
        assert alice.event_ids == [missed]
        assert welcome_of(house.enter(asking("bob", "room.1")))["forbidden"] == ["room.1"]
        assert house.refused("forbidden") == house.refused("refused") == 1

    def test_its_grants_hold_for_the_user_that_they_were_given_to(self, house: House) -> None:
        users = {"alice"}

        @house.decides("room.*")
        async def enter(context: SubscribeContext) -> bool:
            return context.user in users

        alice = house.enter(Opening("alice?a", None))
        house.subscribe(alice, "room.1", "a")
        users.clear()
        assert house.log_in(alice, "alice?b@90")["topics"] == ["room.1"], "a refresh asks nobody"
        users.add("carol")
        assert house.log_in(alice, "carol")["topics"] == ["room.1"]
        assert house.log_in(alice, "bob")["topics"] == []
        house.publish_to("room.1", "a")
        assert topic_events(alice) == []

    def test_a_handler_subscribes_and_unsubscribes_its_client(self, house: House) -> None:
        alice = house.enter(Opening("alice+news", None))
        context = house.context(alice)
        house.run(context.subscribe("room.1", "news"))
        told = alice.messages[-1]
        assert (told["kind"], told["ref"], told["topics"]) == ("subscribed", None, ["room.1"])
        house.publish_to("room.1")
        count = len(alice.messages)
        house.run(context.subscribe("room.1"))
        house.run(context.unsubscribe("elsewhere"))
        assert len(alice.messages) == count, "nothing has changed"
        house.run(context.unsubscribe("room.1", "news"))
        assert alice.messages[-1] == {"kind": "unsubscribed", "ref": None, "topics": ["room.1"]}
        house.publish_to("room.1", "news")
        assert topic_events(alice) == ["room.1", "news"]

    def test_what_a_handler_cannot_subscribe_to_is_an_exception(self, loop: ClockworkLoop) -> None:
        house = House(loop, max_topics_per_connection=2)
        alice = house.enter(Opening("alice", None))
        with pytest.raises(InvalidTopic):
            house.run(house.context(alice).subscribe("room.*"))
        house.run(house.context(alice).subscribe("a", "b"))
        with pytest.raises(Refusal, match="at most 2 topics") as refused:
            house.run(house.context(alice).subscribe("c"))
        assert refused.value.code == "too_many_topics"
        house.leave(alice)
        house.run(house.context(alice).unsubscribe("a"))

    def test_an_event_stream_is_told_of_it_too(self, house: House) -> None:
        stream = house.knock(Opening("alice", None), wire_format=SSE)
        house.loop.settle()
        house.run(house.context(stream).subscribe("room.1"))
        assert stream.written[-1].split(b"\n")[1:] == [
            b"event: $subscribed", b'data: {"topics":["room.1"]}', b"", b"",
        ]  # fmt: skip
        house.run(house.context(stream).unsubscribe("room.1"))
        assert stream.written[-1] == b'event: $unsubscribed\ndata: {"topics":["room.1"]}\n\n'

    def test_what_it_subscribes_a_client_to_before_its_welcome_stands_in_it(
        self, house: House
    ) -> None:
        since = int(welcome_of(house.enter())["id"])
        (missed,) = house.publish(topic_audience("room.1"))

        class Greeter:
            mounted, unfinished = True, 0

            async def connect(self, connection: Recorder, *_: Any) -> None:
                await house.context(connection).subscribe("room.1", "room.2")
                await house.context(connection).unsubscribe("room.2")

        house.admission._hooks = Greeter()  # type: ignore[assignment]
        alice = house.enter(asking("alice", since=since))
        assert welcome_of(alice)["topics"] == ["room.1"]
        assert alice.event_ids == [missed]


async def _nothing() -> None:
    """One step of the event loop."""
