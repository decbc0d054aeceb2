"""`clarion_gateway.clients.remembered_topics`: a client that may recover is told of no topic that
Redis does not hold.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from clarion_contract.bus.orders import ChangeTopics, encode_order
from clarion_gateway.clients.opening import Opening
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import State
from clarion_gateway.wire import frames
from clarion_gateway.wire.messages import Subscribe, Unsubscribe
from clarion_gateway.wire.socketio.recovery import RecoverableFormat, Recovery
from tests.gateway.clients.test_given_topics import Given
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder, frames_of

TOKEN = "alice?order.*"


class Remembering(Given):
    """A pod with clients of Socket.IO that may recover."""

    def __init__(self, loop: ClockworkLoop, **overrides: Any) -> None:
        super().__init__(loop, **overrides)
        recovery = Recovery()
        recovery.key = bytes(32)
        self.format = RecoverableFormat("socketio", frames.text, recovery)
        loop.create_task(self.remembered.run())

    def client(self) -> Recorder:
        connection = self.knock(Opening(TOKEN, None), wire_format=self.format)
        self.loop.settle()
        assert connection.state is State.LIVE
        return connection


@pytest.fixture
def pod(loop: ClockworkLoop) -> Remembering:
    pod = Remembering(loop)
    pod.begin()
    return pod


def told(connection: Recorder) -> list[Any]:
    """The events and acks that came, without the answer to CONNECT."""
    texts = [bytes(frame.data).decode() for frame in frames_of(b"".join(connection.written))]
    return [text if text[1] == "3" else json.loads(text[2:]) for text in texts[1:]]


def test_redis_holds_a_topic_before_its_client_is_told(pod: Remembering) -> None:
    client = pod.client()
    assert client.format is pod.format
    pod.memory.down = True
    pod.ask(client, "order.42")
    pod.loop.settle()
    assert client.topics == []
    assert told(client)[0][1]["code"] == "unavailable"

    pod.memory.down = False
    pod.loop.advance(2)
    assert pod.memory.kept[client.id] == {}, "it does not hear the topic"
    pod.ask(client, "order.42")
    pod.loop.settle()
    assert pod.memory.kept[client.id] == {"order.42": True}
    position = pod.delivery.position
    assert told(client)[2] == ["$offset", f"{position}+"], "the client says so when it is back"
    assert told(client)[3].startswith("437[")
    assert client.format is pod.format.with_topics


def test_what_a_client_gives_up_is_forgotten(pod: Remembering) -> None:
    client = pod.client()
    pod.ask(client, "order.1", "order.2")
    pod.loop.settle()
    pod.run(pod.memberships.unsubscribe(client, Unsubscribe(("order.1",), b"8")))
    assert pod.memory.kept[client.id] == {"order.2": True}


def test_what_the_application_grants_and_takes(pod: Remembering) -> None:
    client = pod.client()
    pod.run(pod.memberships.grant(client, ["room.7"]))
    assert pod.memory.kept[client.id] == {"room.7": False}
    pod.run(pod.memberships.withdraw(client, ["room.7"]))
    assert pod.memory.kept[client.id] == {}


def test_what_an_order_gives_and_takes(pod: Remembering) -> None:
    client = pod.client()
    order = ChangeTopics("1", "alice", ("room.7",), (), 1e12)
    pod.revocations.hear(encode_order(order))
    pod.loop.settle()
    assert pod.memory.kept[client.id] == {"room.7": False}
    assert told(client)[0][0] == "$offset"
    pod.revocations.hear(encode_order(ChangeTopics("2", "alice", (), ("room.7",), 1e12)))
    pod.loop.settle()
    assert pod.memory.kept[client.id] == {}


def test_an_order_waits_for_redis_with_those_only_that_may_recover(pod: Remembering) -> None:
    """Else a pod that is killed meanwhile would take the topic along, and nobody would be told."""
    client = pod.client()
    native = pod.enter(Opening(TOKEN, None))
    pod.memory.down = True
    pod.revocations.hear(encode_order(ChangeTopics("1", "alice", ("room.7",), (), 1e12)))
    pod.loop.advance(3)
    assert (client.topics, native.topics) == ([], ["room.7"])
    pod.revocations.hear(encode_order(ChangeTopics("2", "alice", ("room.8",), ("room.7",), 1e12)))
    pod.memory.down = False
    pod.loop.advance(2)
    assert (client.topics, native.topics) == (["room.8"], ["room.8"])
    assert pod.memory.kept[client.id] == {"room.8": False}


def test_an_order_does_not_wait_for_clients_that_are_gone(pod: Remembering) -> None:
    client = pod.client()
    pod.memory.down = True
    pod.revocations.hear(encode_order(ChangeTopics("1", "alice", ("room.7",), (), 1e12)))
    pod.loop.advance(3)
    client.close(close_codes.DRAINING)
    pod.loop.advance(3)
    assert not pod.given._changes


def test_all_is_written_again_in_time_but_what_nobody_changed(pod: Remembering) -> None:
    client, other = pod.client(), pod.client()
    pod.ask(client, "order.42")
    pod.loop.settle()
    pod.memory.kept.clear()
    pod.memory.writes.clear()
    pod.loop.advance(401)
    assert pod.memory.kept == {client.id: {"order.42": True}}
    assert pod.memory.writes == [[client.id], [client.id]]
    assert other.state is State.LIVE
    pod.hub.remove(client)
    pod.memory.kept.clear()
    pod.loop.advance(601)
    assert pod.memory.kept == {}


def test_a_topic_that_is_coming_is_in_every_write(pod: Remembering) -> None:
    """An order that comes while a topic waits for Redis writes it, too."""
    client = pod.client()
    topic = pod.topics.named(["order.1"])
    with pod.remembered.coming({client: topic}):
        pod.run(pod.remembered.save([client]))
        assert pod.memory.kept[client.id] == {"order.1": True}
    pod.run(pod.remembered.save([client]))
    assert pod.memory.kept[client.id] == {}


def test_clients_that_do_not_recover_cost_redis_nothing(pod: Remembering) -> None:
    native = pod.enter(Opening(TOKEN, None))
    pod.subscribe(native, "order.42")
    assert native.topics == ["order.42"]
    assert pod.memory.writes == []


def test_an_order_that_may_have_taken_a_topic_makes_it_unknown(pod: Remembering) -> None:
    pod.memory.kept["c"] = {"room.7": False, "room.8": False}

    def read(user: str | None) -> Any:
        return pod.run(pod.remembered.read("c", user))

    assert read("alice") == pod.memory.kept["c"]
    pod.revocations.hear(encode_order(ChangeTopics("1", "alice", ("room.7",), ("room.9",), 1e12)))
    assert read("alice") == pod.memory.kept["c"]
    pod.revocations.hear(encode_order(ChangeTopics("2", "alice", (), ("room.8",), 1e12)))
    assert read("alice") is None
    assert read("bob") == pod.memory.kept["c"]


def test_two_messages_at_once_lose_neither_topic(pod: Remembering) -> None:
    client = pod.client()

    async def both() -> None:
        messages = (Subscribe((name,), b"7") for name in ("order.1", "order.2"))
        await asyncio.gather(*(pod.memberships.subscribe(client, each) for each in messages))

    pod.run(both())
    assert pod.memory.kept[client.id] == {"order.1": True, "order.2": True}
