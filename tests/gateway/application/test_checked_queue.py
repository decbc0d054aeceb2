"""Handlers publish only what is declared."""

from __future__ import annotations

import pytest

from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.declaration import Violation
from clarion_contract.events.event import InvalidEvent, Publication, Published
from clarion_gateway.application.checked_queue import CheckedQueue


class Queue:
    def __init__(self) -> None:
        self.taken: list[Publication] = []

    async def publish(self, publication: Publication) -> Published:
        self.taken.append(publication)
        return Published(1, duplicate=False, gateways=0)


def check(_: Audience, type_: str, data: bytes) -> list[Violation]:
    return [] if data == b"1" else [Violation("/data/n", "minimum 0", "-1")] * 2


async def test_a_declared_event_passes() -> None:
    queue = Queue()
    published = await CheckedQueue(queue, check).publish(Publication(ALL, "a", b"1"))
    assert published.id == 1
    assert [each.data for each in queue.taken] == [b"1"]


async def test_another_raises_in_the_handler() -> None:
    queue = Queue()
    expected = r"a: expected minimum 0 at /data/n, got -1, and 1 more"
    with pytest.raises(InvalidEvent, match=expected):
        await CheckedQueue(queue, check).publish(Publication(ALL, "a", b"2"))
    assert queue.taken == []
