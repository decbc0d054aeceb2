"""Connection state recovery of Socket.IO: on any pod, again and again, or the client is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

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
