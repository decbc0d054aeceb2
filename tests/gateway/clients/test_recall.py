"""`clarion_gateway.clients.recall.Recall`: a growing text that was read ahead of the pod."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from clarion_contract.events.audience import topic_audience
from clarion_contract.events.event import Event
from clarion_contract.texts.piece import Piece
from clarion_gateway.clients.recall import Past, Recall, Recalled
from clarion_gateway.connections.connection import NO_SOCKET, Connection
from clarion_gateway.delivery.topic_rings import TopicRing, Want
from clarion_gateway.wire.native import NATIVE
from tests.gateway.clients.test_admission import Door
from tests.gateway.clockwork import ClockworkLoop

TOPIC = topic_audience("answer.1")


class Reading(Door):
    """A pod with one ring, whose topic a client asks for."""

    def __init__(self, loop: ClockworkLoop) -> None:
        super().__init__(loop)
        self.recall = Recall(
            self.rings,
            self.subscription,
            self.delivery,
            self.room,
            max_events=100,
            max_bytes=1 << 20,
        )
        (self.topic_ring,) = loop.run_until_complete(self.rings.get([Want(TOPIC)]))

    def is_whole(self) -> bool:
        return self.recall.is_whole(Recalled(Past(last=1), [self.topic_ring]))


@pytest.fixture
def pod(loop: ClockworkLoop) -> Reading:
    return Reading(loop)


def add(ring: TopicRing, id_: int, *, of_text: bool) -> None:
    data = msgspec.json.encode(Piece("a", 1, True, "writing", "Hello")) if of_text else b"1"
    ring.append(Event(id_, id_ - 1, TOPIC, "t", data, of_text=of_text))


def test_a_text_that_the_pod_has_not_delivered_so_far_is_not_whole(pod: Reading) -> None:
    position = pod.delivery.position
    add(pod.topic_ring, position + 1, of_text=True)
    add(pod.topic_ring, position + 2, of_text=False)
    assert not pod.is_whole()
    pod.delivery.advance(position + 1)
    assert pod.is_whole()


def test_other_events_that_the_pod_has_not_delivered_do_no_harm(pod: Reading) -> None:
    add(pod.topic_ring, pod.delivery.position, of_text=True)
    add(pod.topic_ring, pod.delivery.position + 1, of_text=False)
    assert pod.is_whole()


def test_the_last_events_are_found_without_a_walk_through_all(pod: Reading) -> None:
    position = pod.delivery.position
    pod.delivery.advance(position + 1_000)
    for number in range(1_000):
        add(pod.topic_ring, position + 1 + number, of_text=False)
    looked_at = []
    positions = pod.recall._positions

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(positions, name)

        def is_delivered(self, id_: int, position: int) -> bool:
            looked_at.append(id_)
            return positions.is_delivered(id_, position)

    pod.recall._positions = Counting()
    connection = Connection(NATIVE.plain, NO_SOCKET)
    found = pod.recall.find(connection, [TOPIC], Recalled(Past(last=2), [pod.topic_ring]))
    assert [event.id for event in found.events] == [position + 999, position + 1_000]
    assert len(looked_at) == 2
    since = Past(since=position + 995)
    found = pod.recall.find(connection, [TOPIC], Recalled(since, [pod.topic_ring]))
    assert [event.id for event in found.events] == [position + n for n in range(996, 1_001)]
