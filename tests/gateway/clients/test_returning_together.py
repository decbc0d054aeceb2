"""Many clients with topics come back at once: Redis is read once or twice for each topic."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from clarion_contract.bus.history import History
from clarion_contract.events.audience import Audience, topic_audience
from tests.gateway.clients.test_admission import Door, asking, welcome_of
from tests.gateway.clockwork import ClockworkLoop

CLIENTS = 200
TOPICS = 25
EACH = 10


def test_a_storm_reads_each_topic_once_or_twice_and_loses_nothing(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(loop, handshake_seconds=300)
    chance = random.Random(7)
    names = [f"room.{number}" for number in range(TOPICS)]
    ids: dict[str, list[int]] = {name: [] for name in names}
    positions = []
    for _ in range(300):
        name = chance.choice(names)
        ids[name] += door.publish(topic_audience(name))
        positions.append(door.delivery.position)
    reads: Counter[str] = Counter()
    read = door.bus.history

    async def history(ranges: Sequence[tuple[Audience, int]], **options: Any) -> list[History]:
        reads.update(audience.stream for audience, _ in ranges)
        return await read(ranges, **options)

    monkeypatch.setattr(door.bus, "history", history)  # `newest` calls it, too
    opened = []
    for number in range(CLIENTS):
        mine, since = chance.sample(names, EACH), chance.choice(positions[-250:])
        opened.append((mine, since, door.knock(asking(f"u{number}?**", *mine, since=since))))
    for name in names:  # while they come back
        ids[name] += door.publish(topic_audience(name))
    door.loop.advance(200)
    for mine, since, client in opened:
        assert welcome_of(client)["resumed"] is True
        assert "not_resumed" not in welcome_of(client)
        due = sorted(id_ for name in mine for id_ in ids[name] if id_ > since)
        assert client.event_ids == due
    of_topics = {stream: count for stream, count in reads.items() if stream.startswith("topic:")}
    assert len(of_topics) == TOPICS
    assert max(of_topics.values()) <= 2
