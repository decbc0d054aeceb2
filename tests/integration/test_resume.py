"""Clients that come and go under load have exactly their events in the end, in order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from clarion_contract.events.audience import (
    ALL,
    AUTHENTICATED,
    Audience,
    topic_audience,
    user_audience,
)
from clarion_contract.events.event import Publication, Published
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.sockets import dialled, opened

CLIENTS = 30
EVENTS = 1_500
USERS = ("alice", "bob", None)
AUDIENCES = (ALL, AUTHENTICATED, user_audience("alice"), user_audience("bob"))
END = "the.end"


class Follower:
    """A client as in docs/protocol.md that drops its connection again and again."""

    def __init__(self, pods: Sequence[Pod], user: str | None, seed: int) -> None:
        self._pods = pods
        self._random = random.Random(seed)
        self._query: dict[str, Any] = {} if user is None else {"token": token(user)}
        self.user = user
        self.numbers: list[int] = []
        self.ids: list[int] = []
        self.resumed: list[bool | None] = []
        self.surprises: list[dict[str, Any]] = []
        self.began = asyncio.Event()

    async def follow(self) -> None:
        """Follow until the end has come."""
        while not await self._one_connection():
            pass

    async def _one_connection(self) -> bool:
        patience = self._random.randrange(1, 120)
        async with dialled(self._random.choice(self._pods), **self._query) as connection:
            for _ in range(patience):
                try:
                    message = json.loads(await connection.recv(decode=True))
                except ConnectionClosed as closed:
                    self.surprises.append({"closed": str(closed)})
                    return False
                if self._take(message):
                    return True
            if self._random.random() < 0.5:
                connection.transport.abort()
        return False

    def _take(self, message: dict[str, Any]) -> bool:
        if message["kind"] == "ping":
            return False
        if message["kind"] == "welcome":
            self.resumed.append(message["resumed"])
            self._origin = message["connection"]
            self.began.set()
        elif message["kind"] == "event" and message["type"] == END:
            return True
        elif message["kind"] == "event":
            self.numbers.append(message["data"])
            self.ids.append(int(message["id"]))
        else:
            self.surprises.append(message)
        self._query["since"] = message["id"]
        if message.get("resumed") is not True:
            self._query["connection"] = self._origin
        return False


def is_for(user: str | None, audience: Audience) -> bool:
    return audience == ALL or (user is not None and audience.user in {None, user})


async def publish_all(pod: Pod, audiences: Sequence[Audience]) -> None:
    """Publish in batches with pauses, so that it lasts while clients come and go."""
    numbered = list(enumerate(audiences))
    for start in range(0, len(numbered), 10):
        batch = [
            Publication(audience, "tick", b"%d" % number)
            for number, audience in numbered[start : start + 10]
        ]
        answers = await pod.bus.publish(batch)
        assert all(isinstance(answer, Published) for answer in answers)
        await asyncio.sleep(0.015)
    await pod.publish(type_=END)


@pytest.mark.parametrize("replay_max_bytes", [0, 64 << 20], ids=["from redis", "from the ring"])
async def test_thirty_clients_that_reconnect_lose_nothing(
    start: Start, replay_max_bytes: int
) -> None:
    """They use either of two pods, are anonymous or one of two users, and close or drop."""
    chosen = random.Random(1)
    audiences = [chosen.choice(AUDIENCES) for _ in range(EVENTS)]
    limits = {"replay_max_bytes": replay_max_bytes}
    async with start(pod="pod-a", **limits) as here, start(pod="pod-b", **limits) as there:
        followers = [
            Follower((here, there), USERS[seed % len(USERS)], seed) for seed in range(CLIENTS)
        ]
        async with asyncio.timeout(600), asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow())
            for follower in followers:
                await follower.began.wait()
            await publish_all(here, audiences)
        sources = {
            source: await here.metric("clarion_resume_sources_total", source=source)
            for source in ("ring", "redis")
        }

    for follower in followers:
        wanted = [n for n, audience in enumerate(audiences) if is_for(follower.user, audience)]
        assert follower.surprises == []
        assert follower.numbers == wanted
        assert follower.ids == sorted(set(follower.ids))
        assert follower.resumed[0] is None
        assert all(follower.resumed[1:])
    assert sum(len(follower.resumed) for follower in followers) > 5 * CLIENTS
    assert sources["redis" if replay_max_bytes == 0 else "ring"] > 0


@pytest.mark.parametrize("history", [0, 3], ids=["no stream yet", "with events"])
async def test_a_user_who_is_new_to_the_pod_resumes(start: Start, history: int) -> None:
    """All events for the user after the position are there, though no pod listened to them."""
    carol = user_audience("carol")
    async with start() as pod:
        async with opened(pod) as anonymous:
            since = anonymous.welcome["id"]
        for number in range(history):
            await pod.publish(carol, data=b"%d" % number)
        async with opened(pod, since=since, token=token("carol")) as client:
            resumed = client.welcome["resumed"]
            await pod.publish(carol, data=b"%d" % history)
            numbers = [event["data"] for event in await client.events(history + 1)]

    assert resumed is True
    assert numbers == list(range(history + 1))


async def test_a_fresh_clients_position_lies_after_all_that_was_published_before(
    start: Start,
) -> None:
    """Its pod has not listened to the user yet. An event above the position would never come."""
    async with start(probe_interval_seconds=30) as pod:
        id_ = await pod.publish(user_audience("alice"), "before")
        async with opened(pod, token=token("alice")) as client:
            assert int(client.welcome["id"]) >= id_


async def test_a_pod_that_has_just_started_resumes_clients_of_others(start: Start) -> None:
    async with start(pod="pod-a") as pod:
        async with opened(pod, token=token("alice")) as client:
            since = client.welcome["id"]
        for number, audience in enumerate((ALL, AUTHENTICATED, user_audience("alice"))):
            await pod.publish(audience, data=b"%d" % number)
        async with (
            start(pod="pod-late") as late,
            opened(late, since=since, token=token("alice")) as client,
        ):
            resumed = client.welcome["resumed"]
            numbers = [event["data"] for event in await client.events(3)]

    assert resumed is True
    assert numbers == [0, 1, 2]


async def test_a_client_does_not_get_back_what_excluded_its_last_connection(start: Start) -> None:
    """It got the reply there. Without `connection` the gateway cannot know this, and sends it."""
    async with start() as pod:
        async with opened(pod) as client:
            since, connection = client.welcome["id"], client.id
        await pod.publish(type_="own", exclude=connection)
        await pod.publish(type_="other")
        async with opened(pod, since=since, connection=connection) as back:
            knowing = (await back.receive("event"))["type"]
        async with opened(pod, since=since) as back:
            unknowing = [event["type"] for event in await back.events(2)]

    assert knowing == "other"
    assert unknowing == ["own", "other"]


@pytest.mark.parametrize("audience", [ALL, user_audience("alice")])
async def test_only_clients_of_now_get_events_without_history(
    start: Start, audience: Audience
) -> None:
    """All others come back from before, between and after such events, and miss nothing else."""
    async with start() as pod:
        async with opened(pod, token=token("alice")) as client:
            positions = [client.welcome["id"]]
            for number, history in enumerate((True, False, True, False)):
                await pod.publish(audience, data=b"%d" % number, history=history)
                positions.append((await client.receive("event"))["id"])
            live = [int(position) for position in positions]
        missed = []
        for since in positions:
            async with opened(pod, since=since, token=token("alice")) as back:
                assert back.welcome["resumed"] is True
                await pod.publish(audience, type_=END, history=False)
                events = [await back.receive("event")]
                while events[-1]["type"] != END:
                    events.append(await back.receive("event"))
                missed.append([event["data"] for event in events[:-1]])

    assert live == sorted(live)
    assert missed == [[0, 2], [2], [2], [], []]


async def test_a_topic_that_a_rule_keeps_for_less_is_told_when_it_no_longer_reaches_back(
    start: Start,
) -> None:
    """Topics with more history are resumed, and so are those that never have any."""
    topics = {name: topic_audience(name) for name in ("brief", "fleeting", "long")}
    rules = [
        {"pattern": "brief", "history": {"max_age_seconds": 1}},
        {"pattern": "fleeting", "history": False},
    ]
    async with start(topic_rules=json.dumps({"topics": rules})) as pod:
        bearer = token("alice", topics=list(topics))
        async with opened(pod, token=bearer) as client:
            since = client.welcome["id"]
        for audience in topics.values():
            await pod.publish(audience)
        log = pod.settings.keyspace.log(topics["brief"].stream)

        async def has_expired() -> bool:
            return await pod.bus.command("EXISTS", log) == 0

        await eventually(has_expired, what="the topic's log has expired")
        async with opened(pod, since=since, token=bearer) as back:
            welcome = back.welcome
            await pod.publish(type_=END)
            events = await back.events(2)

    assert welcome["resumed"] is True
    assert welcome["not_resumed"] == ["brief"]
    assert [event.get("topic", event["type"]) for event in events] == ["long", END]


async def test_what_was_missed_is_only_what_is_the_identitys(start: Start) -> None:
    """A position does not say whose it was: a client that resumes gets only its own events."""
    async with start() as pod:
        async with opened(pod, token=token("alice")) as client:
            since = client.welcome["id"]
        for audience in (user_audience("alice"), AUTHENTICATED, user_audience("bob"), ALL):
            await pod.publish(audience)
        heard = {}
        for user in (None, "alice", "bob"):
            query = {} if user is None else {"token": token(user)}
            async with opened(pod, since=since, **query) as back:
                assert back.welcome["resumed"] is True
                events = [await back.receive("event")]
                while events[-1]["audience"] != "all":
                    events.append(await back.receive("event"))
                heard[user] = [event["audience"] for event in events]

    assert heard == {
        None: ["all"],
        "alice": ["user", "authenticated", "all"],
        "bob": ["authenticated", "user", "all"],
    }


@pytest.mark.parametrize("since", ["0", "1", "9999999999999999"])
async def test_a_position_out_of_reach_is_said_to_be(start: Start, since: str) -> None:
    """The position is older than all data, or above all published ids. `welcome` says false, and
    new events arrive."""
    async with start() as pod:
        await pod.publish(data=b"0")
        await pod.counted("clarion_events_received_total", audience="all")
        async with opened(pod, since=since) as client:
            resumed = client.welcome["resumed"]
            await pod.publish(data=b"1")
            event = await client.receive("event")

    assert resumed is False
    assert event["data"] == 1


async def test_more_than_a_replay_may_hold_is_not_resumed(start: Start) -> None:
    async with start(replay_max_events=5) as pod:
        async with opened(pod) as client:
            since = client.welcome["id"]
        for _ in range(5):
            await pod.publish()
        async with opened(pod, since=since) as client:
            enough = client.welcome["resumed"]
        await pod.publish()
        await pod.counted("clarion_events_received_total", 6, audience="all")
        async with opened(pod, since=since) as client:
            too_many = client.welcome["resumed"]

    assert (enough, too_many) == (True, False)
