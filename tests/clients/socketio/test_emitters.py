"""Unmodified producers of Socket.IO: what they write reaches unmodified clients on a real gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import socketio

from tests.clients import driven
from tests.clients.socketio.conftest import Drive, Driven
from tests.integration.pod import Pod, eventually, started, token
from tests.publisher.service import Service, serving
from tests.publisher.sources.socketio.conftest import Names, Producer, reads

HANDLERS = """
from clarion import Handlers

handlers = Handlers()
admin = handlers.namespace("/admin")
"""
REFUSED = "clarion_publisher_socketio_refused_total"
WEBSOCKET = {"transports": ["websocket"], "reconnectionDelay": 50, "reconnectionDelayMax": 200}


@pytest.fixture
async def pod(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pod]:
    (tmp_path / "emitter_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    async with started(redis_url, namespace, handlers="emitter_handlers:handlers") as pod:
        yield pod


@dataclass(frozen=True)
class Producers:
    """The producers, and the publisher that reads what they write."""

    service: Service
    process: Driven | None
    name: str
    python: socketio.RedisManager

    async def call(self, *calls: list[object]) -> None:
        """Call methods, one on the result of the other; returns when Redis has it."""
        assert self.process is not None
        begin = len(self.process.reports)
        await self.process.write(producer=self.name, calls=calls)
        await self.process.told("written", begin)

    def refused(self, producer: str, reason: str) -> float:
        return self.service.metric(f'{REFUSED}{{producer="{producer}",reason="{reason}"}}')


@asynccontextmanager
async def running(
    redis_url: str, namespace: str, folder: Path | None, name: str
) -> AsyncIterator[Producers]:
    names = Names(namespace)
    arguments = json.dumps({"url": redis_url, "key": names.key, "stream": names.stream})
    settings = {
        "socketio_stream": names.stream,
        "socketio_key": names.key,
        "socketio_channel": names.channel,
    }
    with serving(
        redis_url, namespace=namespace, socketio_redis_url=redis_url, **settings
    ) as service:
        async with AsyncExitStack() as stack:
            process = None
            if folder is not None:
                command = ("node", "emitters.mjs", arguments)
                process = await stack.enter_async_context(
                    driven.driving(Driven, *command, cwd=folder)
                )
            python = socketio.RedisManager(redis_url, channel=names.channel, write_only=True)
            python._redis_connect()
            await asyncio.to_thread(reads, service, Producer(python.redis, names))
            yield Producers(service, process, name, python)
            python.redis.close()


@pytest.fixture(params=["emitter", "stream"])
async def producers(
    redis_url: str, namespace: str, folder: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Producers]:
    async with running(redis_url, namespace, folder, request.param) as producers:
        yield producers


@pytest.fixture
async def python(redis_url: str, namespace: str) -> AsyncIterator[Producers]:
    async with running(redis_url, namespace, None, "python") as producers:
        yield producers


@pytest.fixture
def module() -> str:
    return "socket.io-client"


def client(
    drive: Drive, pod: Pod, user: str, path: str = "", **claims: object
) -> AbstractAsyncContextManager[Driven]:
    return drive(pod.url(path), **WEBSOCKET, auth={"token": token(user, **claims)})


def names(driven: Driven) -> list[str]:
    """The events of producers that a client got."""
    events = [report["name"] for report in driven.reports if report["kind"] == "event"]
    return [name for name in events if not name.startswith("$")]


async def test_events_and_rooms(drive: Drive, pod: Pod, producers: Producers) -> None:
    async with (
        client(drive, pod, "alice", topics=["a", "b"]) as alice,
        client(drive, pod, "bob", topics=["b", "c"]) as bob,
        client(drive, pod, "carol") as carol,
    ):
        for each in (alice, bob, carol):
            await each.told("connect")
        sid = (await carol.told("connect"))["sid"]
        await producers.call(["emit", "all", {"n": 1}])
        await producers.call(["to", ["a", "b"]], ["emit", "either", "x"])
        await producers.call(["to", "b"], ["except", "a"], ["emit", "bob", "x"])
        await producers.call(["except", ["c", sid]], ["emit", "not-bob-nor-carol"])
        await producers.call(["emit", "date", {"date": 0}])
        await producers.call(["emit", "several", 1, "2", [3]])
        await producers.call(["emit", "none"])
        await producers.call(["emit", "last", None])
        for each in (alice, bob, carol):
            assert await each.event("all") == [{"n": 1}]
            assert await each.event("date") == ["1970-01-01T00:00:00.000Z"]
            assert await each.event("last") == [None]
            assert await each.event("several") == [1, "2", [3]]
            assert await each.event("none") == []
        to_all = ["date", "several", "none", "last"]
        assert names(alice) == ["all", "either", "not-bob-nor-carol", *to_all]
        assert names(bob) == ["all", "either", "bob", *to_all]
        assert names(carol) == ["all", *to_all]


async def test_namespaces(drive: Drive, pod: Pod, producers: Producers) -> None:
    async with (
        client(drive, pod, "alice", "/admin") as admin,
        client(drive, pod, "alice") as main,
    ):
        for each in (admin, main):
            await each.told("connect")
        await producers.call(["of", "/admin"], ["emit", "notice", 1])
        assert await admin.event("notice") == [1]
        await producers.call(["emit", "last", 1])
        await main.event("last")
        assert (names(admin), names(main)) == (["notice"], ["last"])


async def test_sockets_join_leave_and_are_disconnected(
    drive: Drive, pod: Pod, producers: Producers
) -> None:
    async with (
        client(drive, pod, "alice", topics=["staff"]) as alice,
        client(drive, pod, "bob") as bob,
    ):
        sid = (await bob.told("connect"))["sid"]
        await alice.told("connect")
        hub = pod.gateway.sessions._hub

        async def members() -> set[str]:
            return {each.user or "" for each in hub.connections if "room" in each.topics}

        async def become(*users: str) -> None:
            async def are() -> bool:
                return await members() == set(users)

            await eventually(are, what=f"{users} are in the room")

        await producers.call(["in", "staff"], ["socketsJoin", "room"])
        await become("alice")
        await producers.call(["in", sid], ["socketsJoin", ["room", "other"]])
        await become("alice", "bob")
        await producers.call(["to", "room"], ["emit", "said", 1])
        assert await alice.event("said") == await bob.event("said") == [1]
        await producers.call(["except", "staff"], ["socketsLeave", "room"])
        await become("alice")
        await producers.call(["in", "other"], ["disconnectSockets", True])
        assert (await bob.told("disconnect"))["reason"] == "io server disconnect"
        assert not [report for report in alice.reports if report["kind"] == "disconnect"]
        await producers.call(["disconnectSockets"])
        await alice.told("disconnect")


async def test_what_has_no_meaning_here_is_refused(
    drive: Drive, pod: Pod, producers: Producers
) -> None:
    async with client(drive, pod, "alice") as alice:
        await alice.told("connect")
        await producers.call(["emit", "bytes", {"bytes": [1, 2]}])
        if producers.name == "emitter":  # a server's own adapter does not send it as an emitter
            await producers.call(["serverSideEmit", "hello"])
        await producers.call(["emit", "last", 1])
        await alice.event("last")
        assert names(alice) == ["last"]
        assert producers.refused(producers.name, "binary") == 1
        if producers.name == "emitter":

            async def counted() -> bool:
                return producers.refused("emitter", "unsupported") == 1

            await eventually(counted)


async def test_python_socketio(drive_asyncio: Drive, pod: Pod, python: Producers) -> None:
    async with (
        client(drive_asyncio, pod, "alice", topics=["a"]) as alice,
        client(drive_asyncio, pod, "bob", topics=["b"]) as bob,
    ):
        await alice.told("connect")
        sid = (await bob.told("connect"))["sid"]
        manager = python.python
        manager.emit("all", {"n": 1})
        manager.emit("alice", "x", room="a")
        manager.emit("alice", "y", skip_sid=sid)
        manager.emit("bytes", b"\x01")
        manager.enter_room(sid, "/", "a")
        hub = pod.gateway.sessions._hub

        async def joined() -> bool:
            return "a" in hub.find(sid).topics

        await eventually(joined)
        manager.emit("last", 1, room=["a", "b"])
        assert await alice.event("last") == await bob.event("last") == [1]
        assert names(alice) == ["all", "alice", "alice", "last"]
        assert names(bob) == ["all", "last"]
        assert python.refused("python", "binary") == 1
        manager._publish({"method": "disconnect", "sid": sid, "namespace": "/", "host_id": "x"})
        await bob.told("disconnect")
