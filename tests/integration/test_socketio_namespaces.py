"""Namespaces of Socket.IO: connections of their own on one session, with handlers of their own."""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_gateway.connections import close_codes
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, token
from tests.integration.test_socketio import Client, session

HANDLERS = """
import contextlib

from clarion import Handlers, Refusal, propagate, topic

handlers = Handlers()
admin = handlers.namespace("/admin")
quiet = handlers.namespace("/quiet")
gone = []

@handlers.lifespan
async def life():
    yield "open"

@handlers.on("who")
def who(data, context):
    return ["/", context.user, context.connection]

@admin.on("who")
def who_in_admin(data, context):
    return ["/admin", context.user, context.connection, context.state]

@admin.on("chat", propagate(to=topic("/admin")))
def chat(data, context):
    return data

@admin.on("bytes")
async def sends(data, context):
    await context.send("bytes", b"a")
    return await context.ask("sure", 1)

@admin.on_connect
async def check(context):
    if context.user != "alice":
        raise Refusal("no_admin", "expected an admin")

@admin.on_subscribe("room.*")
def enter(context):
    return context.topic == "room.1"

@admin.on_disconnect
def left(context):
    gone.append((context.user, context.reason))
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "namespaced_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    return "namespaced_handlers:handlers"


@pytest.fixture
async def pod(start: Start, mounted: str) -> AsyncIterator[Pod]:
    async with start(handlers=mounted) as pod:
        yield pod


async def enter(client: Client, namespace: str = "/admin", user: str | None = "alice") -> str:
    """Send a CONNECT to a namespace; returns the id of the connection."""
    auth = json.dumps({"token": token(user)}) if user else ""
    await client.send(f"40{namespace},{auth}")
    answer = await client.receive()
    assert answer.startswith(f"40{namespace},"), answer
    return str(json.loads(answer.partition(",")[2])["sid"])


async def ask(client: Client, head: str, *arguments: Any) -> Any:
    await client.send(f"42{head}{json.dumps(arguments)}")
    answer = await client.receive()
    assert answer.startswith(f"43{head}"), answer
    return json.loads(answer.removeprefix(f"43{head}"))[0]


async def test_each_namespace_has_a_connection_and_handlers_of_its_own(pod: Pod) -> None:
    async with session(pod) as client:
        main = await client.log_in("bob")
        admin = await enter(client)
        assert len({main, admin, client.handshake["sid"]}) == 3
        assert await ask(client, "1", "who") == ["/", "bob", main]
        assert await ask(client, "/admin,1", "who") == ["/admin", "alice", admin, "open"]
        await client.send('42/quiet,["who"]')
        assert (await client.closed())[0] == close_codes.MALFORMED.code


async def test_a_namespace_needs_no_connection_to_the_main_one(start: Start, mounted: str) -> None:
    async with start(handlers=mounted, handshake_seconds=1) as pod, session(pod) as client:
        await enter(client)
        assert (await ask(client, "/admin,1", "who"))[0] == "/admin"
        await client.send('421["who"]')
        assert (await client.closed())[0] == close_codes.MALFORMED.code, "the main one is not open"
        async with session(pod) as another:
            await enter(another)
            await another.send("41/admin,")
            assert (await another.closed())[0] == close_codes.NO_CONNECT.code


async def test_events_stay_in_their_namespaces(pod: Pod) -> None:
    async with session(pod) as client, session(pod) as other:
        await client.log_in("alice")
        await enter(client)
        await enter(client, "/quiet", None)
        await enter(other)
        for audience in (ALL, AUTHENTICATED, Audience("user", "alice")):
            await pod.publish(audience, "main", b"1")
        await pod.publish(Audience("topic", "/admin"), "admin", b"2")
        await pod.publish(Audience("topic", "/quiet"), "quiet", b"3")
        heard = [await client.receive() for _ in range(5)]
        assert sorted(heard) == [
            '42/admin,["admin",2]', '42/quiet,["quiet",3]', *(['42["main",1]'] * 3)
        ]  # fmt: skip
        assert await other.receive() == '42/admin,["admin",2]'
        await other.send('42/admin,7["nothing"]', '42/admin,8["chat",{"text":"hello"}]')
        assert await client.receive() == '42/admin,["chat",{"text":"hello"}]'
    await pod.counted("clarion_deliveries_total", 3, wire="socketio", audience="topic")


async def test_rooms_bytes_and_questions_work_in_a_namespace(pod: Pod) -> None:
    async with session(pod) as client:
        await enter(client)
        heard = await ask(client, "/admin,1", "$subscribe", ["room.1", "room.2"])
        assert heard == {"topics": ["room.1"], "forbidden": ["room.2"]}
        await pod.publish(Audience("topic", "room.1"), "said", b"1")
        assert await client.receive() == '42/admin,["said",1]'
        await client.send('42/admin,5["bytes"]')
        assert await client.receive() == '451-/admin,["bytes",{"_placeholder":true,"num":0}]'
        assert await client.receive() == b"a"  # type: ignore[comparison-overlap]
        question = await client.receive()
        assert question.startswith("42/admin,")
        ref = question.removeprefix("42/admin,").partition("[")[0]
        await client.send(f'43/admin,{ref}["yes"]')
        assert await client.receive() == '43/admin,5["yes"]'


async def test_a_refused_namespace_is_told_and_the_others_stay(pod: Pod) -> None:
    async with session(pod) as client:
        main = await client.log_in("bob")
        await client.send("40/admin," + json.dumps({"token": token("bob")}))
        refused = await client.receive()
        assert json.loads(refused.removeprefix("44/admin,")) == {
            "message": "no_admin: expected an admin", "data": {"code": "refused"}
        }  # fmt: skip
        await client.send('40/admin,{"token":"nonsense"}')
        assert json.loads((await client.receive()).removeprefix("44/admin,"))["data"] == {
            "code": "unauthenticated"
        }
        await client.send("40/unknown,")
        assert await client.receive() == '44/unknown,{"message":"Invalid namespace"}'
        assert await ask(client, "1", "who") == ["/", "bob", main]
        await enter(client)


async def test_who_leaves_a_namespace_keeps_the_others_and_may_come_again(pod: Pod) -> None:
    gone = importlib.import_module("namespaced_handlers").gone
    gone.clear()
    async with session(pod) as client:
        await client.log_in("bob")
        first = await enter(client)
        await client.send("41/admin,")
        second = await enter(client)
        assert first != second
        await client.send("41")
        assert (await ask(client, "/admin,1", "who"))[2] == second
        await client.log_in("bob")
        await client.send("40/admin,")
        assert (await client.closed())[0] == close_codes.MALFORMED.code, "it is connected already"

    async def told() -> bool:
        # Plain functions run in threads: those of two connections end in any order.
        return sorted(gone) == [("alice", "malformed"), ("alice", "normal")]

    await eventually(told)
    await pod.counted("clarion_connections", 0)


async def test_a_barred_user_is_told_in_each_namespace(pod: Pod) -> None:
    async with session(pod) as client:
        await client.log_in("bob")
        await enter(client)
        (connection,) = pod.gateway.sessions._hub.of_user("alice")
        connection.close(close_codes.BARRED)
        assert [await client.receive(), await client.receive()] == ["41", "41/admin,"]
        assert (await client.closed())[0] == close_codes.BARRED.code


async def test_one_frame_serves_all_sockets_of_a_namespace(pod: Pod) -> None:
    async with session(pod) as first, session(pod) as second:
        await enter(first)
        await enter(second)
        formats = {each.format for each in pod.gateway.sessions._hub.connections}
        assert len(formats) == 1
        await pod.counted("clarion_connections", 2, wire="socketio", identity="authenticated")


async def test_messages_behind_a_connect_wait_for_its_answer(pod: Pod) -> None:
    async with session(pod) as client:
        await client.log_in("bob")
        await client.send(
            "40/admin," + json.dumps({"token": token("alice")}), '42/admin,1["who"]', '422["who"]'
        )
        told = [await client.receive() for _ in range(3)]
        (main,) = (text for text in told if "/admin" not in text)  # in its own time
        assert main.startswith('432[["/","bob"')
        told.remove(main)
        assert told[0].startswith("40/admin,{")
        assert told[1].startswith('43/admin,1[["/admin","alice"')
