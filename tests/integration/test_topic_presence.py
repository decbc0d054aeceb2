"""Presence of topics: clients learn who else receives a topic, over all pods, and who has gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from clarion_contract.bus.presence import PodLoad, PresenceRegister
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.events.audience import topic_audience
from clarion_contract.events.event import Publication
from clarion_contract.events.topic_members import PRESENCE_CHANGED, TopicEntry
from tests.integration.conftest import Start
from tests.integration.pod import eventually, token
from tests.integration.sockets import Client, opened

RULES = json.dumps(
    {
        "topics": [
            {"pattern": "crowd", "presence": {"max_members": 1}},
            {"pattern": "room.*", "presence": True},
        ]
    }
)


class Watching:
    """A client that keeps what it is told about the members of a topic, as docs/protocol.md says."""

    def __init__(self, client: Client, topic: str) -> None:
        self.client = client
        self.topic = topic
        self.members: set[str] | None = None
        self.counts = (0, 0)  # users, connections
        self.whole = 0  # messages that told everything
        self.others: list[dict[str, Any]] = []

    async def until(self, users: int, connections: int) -> set[str] | None:
        """Follow until the topic has so many members; returns their names."""
        while self.counts != (users, connections):
            message = await self.client.receive()
            if message["kind"] != "presence":
                self.others.append(message)
                continue
            assert message["topic"] == self.topic
            self.counts = message["users"], message["connections"]
            if "members" in message:
                named = message["members"]
                self.members = None if named is None else {*named}
                self.whole += 1
            else:
                assert self.members is not None
                assert not self.members & {*message.get("joined", ())}
                assert self.members >= {*message.get("left", ())}
                self.members |= {*message.get("joined", ())}
                self.members -= {*message.get("left", ())}
        return self.members


async def test_clients_of_all_pods_learn_who_comes_and_goes(start: Start) -> None:
    async with start(pod="a", topic_rules=RULES) as a, start(pod="b", topic_rules=RULES) as b:
        alice, bob = (token(user, topics=["room.1"]) for user in ("alice", "bob"))
        async with opened(a, token=alice) as first:
            watching = Watching(first, "room.1")
            assert await watching.until(1, 1) == {"alice"}
            async with opened(b, token=bob) as second:
                assert await Watching(second, "room.1").until(2, 2) == {"alice", "bob"}
                assert await watching.until(2, 2) == {"alice", "bob"}
                async with opened(b, token=alice) as third:
                    assert await Watching(third, "room.1").until(2, 3) == {"alice", "bob"}
                    assert await watching.until(2, 3) == {"alice", "bob"}
                assert await watching.until(2, 2) == {"alice", "bob"}
            assert await watching.until(1, 1) == {"alice"}
            assert watching.whole == 1, "everything is told once, then what changes"
            id_ = await a.publish(topic_audience("room.1"))
            assert (await first.receive("event"))["id"] == str(id_)
            assert watching.others == []
        register = TopicRegister(a.bus, a.settings.keyspace)

        async def is_empty() -> bool:
            return await register.read(["room.1"]) == [{}]

        await eventually(is_empty, what="nothing is left of it in Redis")


async def test_who_joins_while_redis_is_asked_is_told_everything(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()
    write = TopicRegister.write

    async def slow(
        self: TopicRegister, name: str, entries: Sequence[tuple[str, TopicEntry | None]]
    ) -> list[dict[str, TopicEntry]]:
        found = await write(self, name, entries)
        is_asked.set()
        await may_answer.wait()
        return found

    async with start(topic_rules=RULES) as pod:
        alice, bob, carol = (token(user, topics=["room.1"]) for user in ("alice", "bob", "carol"))
        async with opened(pod, token=alice) as first:
            of_first = Watching(first, "room.1")
            assert await of_first.until(1, 1) == {"alice"}
            monkeypatch.setattr(TopicRegister, "write", slow)
            async with opened(pod, token=bob) as second:
                await is_asked.wait()
                async with opened(pod, token=carol) as third:
                    may_answer.set()
                    for watching in (
                        of_first,
                        Watching(second, "room.1"),
                        Watching(third, "room.1"),
                    ):
                        assert await watching.until(3, 3) == {"alice", "bob", "carol"}
                        assert watching.whole == 1


async def test_topics_whose_rule_says_nothing_have_no_presence(start: Start) -> None:
    async with start(topic_rules=RULES) as pod:
        bearer = token("alice", topics=["quiet", "room.1"])
        async with opened(pod, token=bearer) as client:
            await Watching(client, "room.1").until(1, 1)
            await pod.publish(topic_audience("quiet"))
            assert (await client.receive("event"))["topic"] == "quiet"


async def test_too_many_are_counted_and_not_named(start: Start) -> None:
    async with start(topic_rules=RULES) as pod:
        alice, bob = (token(user, topics=["crowd"]) for user in ("alice", "bob"))
        async with opened(pod, token=alice) as first:
            watching = Watching(first, "crowd")
            assert await watching.until(1, 1) == {"alice"}
            async with opened(pod, token=bob):
                assert await watching.until(2, 2) is None
            assert await watching.until(1, 1) == {"alice"}


async def test_the_members_of_a_pod_that_died_leave(start: Start) -> None:
    async with start(topic_rules=RULES, heartbeat_seconds=2) as pod:
        pods = PresenceRegister(pod.bus, pod.settings.keyspace)
        name = (await pods.begin("dead", PodLoad(0, 1, 1), timeout_seconds=4)).name
        assert name is not None
        register = TopicRegister(pod.bus, pod.settings.keyspace)
        await register.write(name, [("room.1", TopicEntry(1, 1, ("zoe",)))])
        async with opened(pod, token=token("alice", topics=["room.1"])) as client:
            watching = Watching(client, "room.1")
            assert await watching.until(2, 2) == {"alice", "zoe"}
            assert await watching.until(1, 1) == {"alice"}
        assert name not in (await register.read(["room.1"]))[0]


async def test_a_pod_that_has_lost_redis_reads_everything_anew(start: Start) -> None:
    """The other pod's message to it is lost."""
    async with start(topic_rules=RULES) as pod:
        pods = PresenceRegister(pod.bus, pod.settings.keyspace)
        name = (await pods.begin("other", PodLoad(0, 1, 1), timeout_seconds=600)).name
        assert name is not None
        register = TopicRegister(pod.bus, pod.settings.keyspace)
        async with opened(pod, token=token("alice", topics=["room.1"])) as client:
            watching = Watching(client, "room.1")
            assert await watching.until(1, 1) == {"alice"}
            await register.write(name, [("room.1", TopicEntry(1, 1, ("zoe",)))])
            await pod.bus.command("CLIENT", "KILL", "TYPE", "pubsub")
            assert await watching.until(2, 2) == {"alice", "zoe"}
            await register.write(name, [("room.1", None)])
            await pod.bus.publish(
                [Publication(topic_audience("room.1"), PRESENCE_CHANGED, b"null", history=False)]
            )
            assert await watching.until(1, 1) == {"alice"}


async def test_a_change_of_user_is_a_change_of_members(start: Start) -> None:
    async with start(topic_rules=RULES) as pod:
        alice, bob = (token(user, topics=["room.1"]) for user in ("alice", "bob"))
        async with opened(pod, token=alice) as watcher, opened(pod, token=alice) as client:
            watching = Watching(watcher, "room.1")
            assert await watching.until(1, 2) == {"alice"}
            await client.send(kind="auth", ref=1, token=bob)
            assert await watching.until(2, 2) == {"alice", "bob"}
