"""Connection state recovery of Socket.IO: on any pod, again and again, or the client is told."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from clarion_contract.bus.orders import ChangeTopics, Orders
from clarion_contract.events.audience import ALL, Audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, started, token
from tests.integration.test_socketio import Client, session
from tests.valkey import Valkey


class Recovering(Client):
    """A client that keeps pid and offset as socket.io-client does."""

    pid: str = ""
    offset: str | None = None

    async def connect(self, user: str | None = "alice", **auth: Any) -> str:
        """Send a CONNECT; returns the new pid."""
        if user is not None:
            auth = {"token": token(user), **auth}
        await self.send("40" + json.dumps({"recovery": True, **auth}))
        message = await self.receive()
        assert message.startswith("40{"), message
        answer = json.loads(message[2:])
        self.sid = answer["sid"]
        return str(answer["pid"])

    async def next(self) -> tuple[str, Any]:
        name, data, offset = await self.event()
        self.offset = offset
        return name, data


@contextlib.asynccontextmanager
async def recovering(
    pod: Pod, former: Recovering | None = None, **auth: Any
) -> AsyncIterator[Recovering]:
    """A client, which goes on where a former one ended."""

    async def has_key() -> bool:
        return pod.gateway.sessions.recovery.key is not None

    await eventually(has_key)
    async with session(pod) as opened:
        client = Recovering(opened.connection, opened.handshake)
        if former is not None:
            auth = {"pid": former.pid, **auth}
            if former.offset is not None:
                auth = {"offset": former.offset, **auth}
            client.offset = former.offset
        client.pid = await client.connect(**auth)
        yield client


async def tick(pod: Pod, *numbers: int) -> None:
    for number in numbers:
        await pod.publish(ALL, "tick", b"%d" % number)


async def test_a_client_recovers_on_another_pod_again_and_again(start: Start) -> None:
    async with start(pod="pod-a") as first, start(pod="pod-b") as second:
        async with recovering(first) as client:
            await tick(first, 1)
            assert await client.next() == ("tick", 1)
        for number in (2, 4):
            await tick(second, number)
            await second.publish(Audience("user", "alice"), "mail", b"%d" % number)
            await first.publish(ALL, "not.to.alice", exclude=client.sid)
            pod = second if number == 2 else first
            async with recovering(pod, client) as again:
                assert (again.pid, again.sid) == (client.pid, client.sid), "recovered"
                assert await again.next() == ("tick", number)
                assert await again.next() == ("mail", number)
                await tick(first, number + 1)
                assert await again.next() == ("tick", number + 1)
                client = again


async def test_a_client_recovers_before_any_event_has_come(start: Start) -> None:
    async with start() as pod:
        async with recovering(pod) as client:
            pass
        await tick(pod, 1)
        async with recovering(pod, client) as again:
            assert again.pid == client.pid
            assert await again.next() == ("tick", 1)


async def test_the_former_connection_on_the_same_pod_ends(start: Start) -> None:
    """The client has lost it; the pod has not noticed."""
    async with start() as pod, recovering(pod) as former:
        async with recovering(pod, former) as again:
            assert again.pid == former.pid
            await former.closed()
            assert len(pod.gateway.sessions._hub) == 1
            await tick(pod, 1)
            assert await again.next() == ("tick", 1)
        await pod.counted("clarion_closes_total", reason="abnormal")


async def test_the_token_is_checked_again(start: Start) -> None:
    async with start() as pod, recovering(pod) as client:
        async with session(pod) as opened:
            auth = {"recovery": True, "pid": client.pid, "token": token("alice", -5)}
            await opened.send("40" + json.dumps(auth))
            assert (await opened.receive()).startswith("44{")
        # The refused attempt costs the former connection nothing.
        await tick(pod, 1)
        assert await client.next() == ("tick", 1)
        assert len(pod.gateway.sessions._hub) == 1


@pytest.mark.parametrize("user", ["bob", None])
async def test_a_pid_of_another_user_recovers_nothing(start: Start, user: str | None) -> None:
    async with start() as pod, recovering(pod) as client:
        await pod.publish(Audience("user", "alice"), "secret")
        await client.next()
        async with recovering(pod, client, user=user) as other:
            assert other.pid != client.pid
            assert other.sid != client.sid
            await tick(pod, 1)
            assert await other.next() == ("tick", 1)


@pytest.mark.parametrize(
    "forged",
    [
        {"pid": "nonsense"},
        {"pid": 5},
        {"pid": "a.1.b"},
        {"offset": "text"},
        {"offset": 7, "pid": 8},
    ],
)
async def test_what_is_forged_recovers_nothing_and_harms_nobody(
    start: Start, forged: dict[str, Any]
) -> None:
    async with start() as pod, recovering(pod) as client:
        async with recovering(pod, client, **forged) as other:
            assert other.pid != client.pid
        await tick(pod, 1)
        assert await client.next() == ("tick", 1)


async def test_what_redis_has_lost_is_not_recovered(valkey: Valkey, namespace: str) -> None:
    async with started(valkey.url, namespace) as pod:
        async with recovering(pod) as client:
            await tick(pod, 1)
            await client.next()
        valkey.kill()
        valkey.start()
        await pod.ready()
        async with recovering(pod, client) as again:
            assert again.pid != client.pid


async def test_without_being_asked_for_nothing_is_added(start: Start) -> None:
    async with start() as pod, session(pod) as client:
        await client.log_in("alice")
        await tick(pod, 1)
        assert await client.event() == ["tick", 1]
    async with start(socketio_recovery=True) as pod, recovering(pod, recovery=False) as client:
        assert client.pid


async def test_a_pod_that_has_no_key_yet_does_not_make_a_client_begin_anew(start: Start) -> None:
    async with start() as pod:
        async with recovering(pod) as client:
            pass
        await tick(pod, 1)
        recovery = pod.gateway.sessions.recovery
        key, recovery.key = recovery.key, None
        async with session(pod) as opened:
            auth = {"recovery": True, "pid": client.pid, "token": token("alice")}
            await opened.send("40" + json.dumps(auth))
            await opened.closed()
        recovery.key = key
        async with recovering(pod, client) as again:
            assert again.pid == client.pid
            assert await again.next() == ("tick", 1)


HANDLERS = """
from clarion import Handlers

handlers = Handlers()
handlers.allowed, handlers.heard = {"hall.1", "hall.2"}, []

@handlers.on("join")
async def join(topic, context):
    await context.subscribe(topic)
    return "joined"

@handlers.on_subscribe("hall.*")
def may_enter(context):
    return context.topic in handlers.allowed

@handlers.on_connect
def come(context):
    handlers.heard.append(("connect", context.connection))

@handlers.on_disconnect
def go(context):
    handlers.heard.append(("disconnect", context.connection))
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Handlers that both pods share: they live in one process here."""
    name = f"recovery_handlers_{secrets.token_hex(4)}"
    (tmp_path / f"{name}.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{name}:handlers"
    sys.modules.pop(name, None)


def handlers_of(mounted: str) -> Any:
    return sys.modules[mounted.partition(":")[0]].handlers


async def asked(client: Recovering, name: str, topic: str) -> Any:
    """Emit with an ack, and return that; keeps the offset that comes before."""
    await client.send(f'427["{name}","{topic}"]')
    while not (message := await client.receive()).startswith("437"):
        client.offset = json.loads(message[2:])[-1]
    return json.loads(message[3:])[0]


def topic(name: str) -> Audience:
    return Audience("topic", name)


async def test_topics_are_restored_on_another_pod_again_and_again(
    start: Start, mounted: str
) -> None:
    """Those that the client asked for, and those that the application gave it."""
    claims = {"subscribe": ["order.*"]}
    async with (
        start(pod="pod-a", handlers=mounted) as first,
        start(pod="pod-b", handlers=mounted) as second,
    ):
        async with recovering(first, **claimed(claims)) as client:
            assert (await asked(client, "$subscribe", "order.1"))["topics"] == ["order.1"]
            assert (await asked(client, "$subscribe", "hall.1"))["topics"] == ["hall.1"]
            assert await asked(client, "join", "room.7") == "joined"
            assert (await asked(client, "$subscribe", "order.2"))["topics"] == ["order.2"]
            assert (await asked(client, "$unsubscribe", "order.2"))["topics"] == ["order.2"]
        for pod in (second, first, second):
            for name in ("order.1", "hall.1", "room.7", "order.2"):
                await first.publish(topic(name), "missed", f'"{name}"'.encode())
            async with recovering(pod, client, **claimed(claims)) as again:
                assert (again.pid, again.sid) == (client.pid, client.sid), "recovered"
                missed = [await again.next() for _ in range(3)]
                assert missed == [("missed", name) for name in ("order.1", "hall.1", "room.7")]
                await second.publish(topic("room.7"), "now")
                assert (await again.next())[0] == "now"
                client = again


async def test_a_right_that_has_ended_is_not_restored(start: Start, mounted: str) -> None:
    async with start(handlers=mounted) as pod:
        async with recovering(pod, **claimed({"subscribe": ["order.*"]})) as client:
            await asked(client, "$subscribe", "order.1")
            await asked(client, "$subscribe", "hall.1")
            await asked(client, "$subscribe", "hall.2")
            assert await asked(client, "join", "room.7") == "joined"
        handlers_of(mounted).allowed.remove("hall.2")
        async with recovering(pod, client) as again:  # its token has no claim
            assert again.pid == client.pid
            for name in ("order.1", "hall.2", "hall.1", "room.7"):
                await pod.publish(topic(name), "now", f'"{name}"'.encode())
            assert [await again.next() for _ in range(2)] == [("now", "hall.1"), ("now", "room.7")]


async def test_an_order_that_takes_a_topic_meanwhile_makes_the_client_begin_anew(
    start: Start, mounted: str
) -> None:
    async with start(handlers=mounted) as pod:
        async with recovering(pod) as client:
            assert await asked(client, "join", "room.7") == "joined"
        orders = Orders(pod.bus, pod.settings.keyspace, max_orders=10)
        await orders.give([ChangeTopics("1", "alice", (), ("room.7",), time.time() + 600)])
        await pod.counted("clarion_orders_total", order="topics")
        async with recovering(pod, client) as again:
            assert again.pid != client.pid
            assert again.sid != client.sid
            await pod.publish(topic("room.7"))
            await tick(pod, 1)
            assert await again.next() == ("tick", 1)


async def test_topics_that_redis_has_forgotten_are_not_recovered_in_silence(
    start: Start, mounted: str
) -> None:
    async with start(handlers=mounted) as pod:
        async with recovering(pod) as client:
            assert await asked(client, "join", "room.7") == "joined"
        await pod.bus.command("DEL", pod.settings.keyspace.recovery_topics(client.sid))
        async with recovering(pod, client) as again:
            assert again.pid != client.pid
            assert again.sid != client.sid
            # From here on, the client can recover again.
            assert await asked(again, "join", "room.8") == "joined"
        async with recovering(pod, again) as third:
            assert third.pid == again.pid


async def test_a_client_that_does_not_recover_has_a_new_id(
    valkey: Valkey, namespace: str, mounted: str
) -> None:
    """The application sees the connection of before end, and another one come."""
    async with started(valkey.url, namespace, handlers=mounted) as pod:
        async with recovering(pod) as client:
            await tick(pod, 1)
            await client.next()
            assert await asked(client, "join", "room.7") == "joined"
        heard = handlers_of(mounted).heard
        before = ("disconnect", client.sid)

        async def has_gone() -> bool:
            return before in heard

        await eventually(has_gone)
        heard.clear()
        client.offset = str(int(str(client.offset).removesuffix("+")) + 10**15)  # of another Redis
        async with recovering(pod, client) as again:
            assert again.pid != client.pid
            assert again.sid != client.sid
            assert heard == [("connect", client.sid), before, ("connect", again.sid)]
            assert pod.gateway.sessions._hub.find(client.sid) is None
            await pod.publish(ALL, "not.to.her", exclude=again.sid)
            await pod.publish(topic("room.7"))
            await tick(pod, 2)
            assert await again.next() == ("tick", 2)


async def test_a_client_that_goes_while_it_begins_anew_leaves_nothing_behind(
    start: Start, mounted: str
) -> None:
    async with start(handlers=mounted) as pod:
        async with recovering(pod) as client:
            pass
        client.offset = str(9 * 10**15)
        for _ in range(5):
            async with session(pod) as opened:
                auth = {"recovery": True, "pid": client.pid, "offset": client.offset}
                await opened.send("40" + json.dumps({**auth, "token": token("alice")}))

        def ids(what: str) -> list[str]:
            heard = handlers_of(mounted).heard
            return sorted(connection for each, connection in heard if each == what)

        async def is_empty() -> bool:
            return not len(pod.gateway.sessions._hub) and ids("connect") == ids("disconnect")

        await eventually(is_empty)


def claimed(claims: dict[str, Any]) -> dict[str, Any]:
    return {"token": token("alice", **claims), "user": None}
