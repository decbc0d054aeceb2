"""socket.io-client, unmodified, on real gateways."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from clarion_contract.bus.orders import Orders, RevokeUser
from clarion_contract.bus.presence import PresenceRegister
from clarion_contract.events.audience import ALL, Audience
from clarion_gateway.connections import close_codes
from tests.clients.balancer import balanced
from tests.clients.socketio.conftest import Drive, Driven
from tests.integration.pod import Pod, eventually, started, token

HANDLERS = """
from clarion import Handlers, Refusal, propagate, topic

handlers = Handlers()

@handlers.on("echo")
def echo(data, context):
    return data

@handlers.on("user")
def user(data, context):
    return context.user

@handlers.on("chat", propagate(to="all"))
def chat(data, context):
    return data

@handlers.on("quiz")
async def quiz(data, context):
    await context.send("hint", {"n": 1})
    return await context.ask("question", data)

@handlers.on("photo")
async def photo(data: list[bytes], context):
    await context.send("photo", {"n": 1}, data[0], "end")
    return {"bits": data[0] + data[1]}

admin = handlers.namespace("/admin")

@admin.on_connect
def check(context):
    if context.user != "alice":
        raise Refusal("no_admin", "expected an admin")

@admin.on("who")
def who(data, context):
    return [context.user, context.connection, data]

@admin.on("notice", propagate(to=topic("/admin")))
def notice(data, context):
    return data

@admin.on("note", propagate(to="user"))
def note(data, context):
    return data

@handlers.on("refuse")
def refuse(data, context):
    raise Refusal("closed", "the room is closed")
"""
WEBSOCKET = {"transports": ["websocket"], "reconnectionDelay": 50, "reconnectionDelayMax": 200}


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "node_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    return "node_handlers:handlers"


@pytest.fixture
async def pod(redis_url: str, namespace: str, mounted: str) -> AsyncIterator[Pod]:
    async with started(redis_url, namespace, handlers=mounted) as pod:
        yield pod


def connected(
    drive: Drive, pod: Pod, user: str | None = None, **options: Any
) -> AbstractAsyncContextManager[Driven]:
    auth = {} if user is None else {"token": token(user)}
    return drive(pod.url(""), **{**WEBSOCKET, "auth": auth, **options})


async def test_events_of_all_audiences_arrive_in_order(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod, "alice") as alice, connected(drive, pod) as guest:
        connect = await alice.told("connect")
        assert connect["transport"] == "websocket"
        await guest.told("connect")
        await pod.publish(ALL, "tick", b'{"n":1}')
        await pod.publish(Audience("user", "alice"), "mail", b'[1,"\\u00e4"]')
        await pod.publish(ALL, "not.to.alice", b"1", exclude=connect["sid"])
        await pod.publish(ALL, "end")
        assert await alice.event("end") == [{}]
        await guest.event("end")
        events = [(each["name"], each["args"]) for each in alice.reports if each["kind"] == "event"]
        assert events == [("tick", [{"n": 1}]), ("mail", [[1, "ä"]]), ("end", [{}])]
        names = [each["name"] for each in guest.reports if each["kind"] == "event"]
        assert names == ["tick", "not.to.alice", "end"]


async def test_emits_reach_handlers_and_acks_come_back(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod, "alice") as alice, connected(drive, pod) as bob:
        await bob.told("connect")
        assert await alice.ask("echo", {"a": [1, None, "ü"]}) == [{"a": [1, None, "ü"]}]
        assert await alice.ask("echo", 1, "two") == [[1, "two"]]
        assert await alice.ask("user") == ["alice"]
        await alice.write(emit=["chat", {"text": "hello"}])
        assert await bob.event("chat") == [{"text": "hello"}]
        assert not [each for each in alice.reports if each["kind"] == "event"], "the sender's own"


async def test_a_handler_sends_to_its_client_and_asks_it(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod) as client:
        assert await client.ask("quiz", [6, 7]) == [{"answer": [6, 7]}]
        assert await client.event("hint") == [{"n": 1}]


async def test_bytes_reach_handlers_as_base64(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod) as client:
        await client.write(bytes=["echo", [1, 2, 255]])
        (reply,) = (await client.told("ack"))["reply"]
        assert base64.b64decode(reply) == bytes([1, 2, 255])


async def test_bytes_reach_clients_as_bytes(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod) as client:
        await client.write(bytes=["photo", [1, 2], [255]])
        (reply,) = (await client.told("ack"))["reply"]
        assert reply == {"bits": {"type": "Buffer", "data": [1, 2, 255]}}
        assert await client.event("photo") == [{"n": 1}, {"type": "Buffer", "data": [1, 2]}, "end"]


ADMIN = "/admin"


@pytest.mark.parametrize(
    "transports",
    [["websocket"], ["polling"], ["polling", "websocket"]],
    ids=["websocket", "polling", "upgrade"],
)
async def test_a_client_has_several_namespaces_on_one_session(
    drive: Drive, pod: Pod, transports: list[str]
) -> None:
    async with connected(drive, pod, transports=transports) as client:
        main = (await client.told("connect"))["sid"]
        await client.write(join=[ADMIN, {"token": token("bob")}])
        refused = await client.told("barred", namespace=ADMIN)
        assert refused["data"] == {"code": "refused"}
        await client.write(join=[ADMIN, {"token": token("alice")}])
        admin = (await client.told("joined", namespace=ADMIN))["sid"]
        assert admin != main
        await client.write(askIn=[ADMIN, "who", 1])
        answered = await client.told("answered", namespace=ADMIN)
        assert answered["reply"] == [["alice", admin, 1]]
        assert await client.ask("user") == [None], "each has a token of its own"
        await pod.publish(Audience("topic", ADMIN), "notice", b"1")
        assert (await client.told("heard", namespace=ADMIN))["args"] == [1]
        await client.write(leave=ADMIN)
        await client.told("left", namespace=ADMIN, reason="io client disconnect")
        assert await client.ask("echo", 2) == [2], "the other namespace goes on"
        assert not [each for each in client.reports if each["kind"] == "event"]


async def test_a_reply_reaches_the_others_of_a_namespace_and_no_other_namespace(
    drive: Drive, pod: Pod
) -> None:
    """Propagated to its topic: not to the sender's own connection, nor to its main one."""
    as_alice = {"token": token("alice")}
    async with connected(drive, pod, "alice") as first, connected(drive, pod, "alice") as second:
        for each in (first, second):
            await each.told("connect")
            await each.write(join=[ADMIN, as_alice])
            await each.told("joined")
        await first.write(askIn=[ADMIN, "notice", "closed at six"])
        assert (await first.told("answered"))["reply"] == ["closed at six"]
        heard = await second.told("heard", name="notice")
        assert heard["args"] == ["closed at six"]
        await first.write(askIn=[ADMIN, "note", "for my other pages"])
        await pod.publish(Audience("topic", ADMIN), "end")
        await pod.publish(ALL, "end")
        for each in (first, second):
            await each.told("heard", name="end")
            await each.event("end")
        heard_by_first = [each["name"] for each in first.reports if each["kind"] == "heard"]
        assert heard_by_first == ["end"]
        # A user's events belong to the main namespace.
        assert await first.event("note") == await second.event("note") == ["for my other pages"]
        for each in (first, second):
            names = [report["name"] for report in each.reports if report["kind"] == "event"]
            assert sorted(names) == ["end", "note"]


async def test_a_refusal_is_heard_as_exception_and_as_ack(drive: Drive, pod: Pod) -> None:
    refusal = {"status": "error", "code": "closed", "message": "the room is closed"}
    async with connected(drive, pod) as client:
        assert await client.ask("refuse") == [refusal]
        assert await client.event("exception") == [refusal]


async def test_a_bad_token_stops_the_client_until_it_has_another(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod, auth={"token": "nonsense"}) as client:
        error = await client.told("connect_error")
        assert error["data"] == {"code": "unauthenticated"}
        await client.write(auth={"token": token("alice")}, connect=None)
        await client.told("connect")
        assert await client.ask("user") == ["alice"]
        assert len([each for each in client.reports if each["kind"] == "connect_error"]) == 1


async def test_presence_has_a_client_until_its_token_is_revoked(drive: Drive, pod: Pod) -> None:
    register = PresenceRegister(pod.bus, pod.settings.keyspace)
    async with connected(drive, pod, "alice", transports=["polling", "websocket"]) as client:
        await client.told("connect")

        async def is_present() -> bool:
            return len(await register.user("alice")) == 1

        async def is_absent() -> bool:
            return not await register.user("alice")

        await eventually(is_present)
        begin, later = len(client.reports), time.time() + 1_800
        orders = Orders(pod.bus, pod.settings.keyspace, max_orders=pod.settings.orders_max)
        await orders.give([RevokeUser("alice", later, later)])
        await client.told("disconnect", begin)
        # Requests that are under way may fail first.
        await client.told("connect_error", begin, data={"code": "revoked"})
        await eventually(is_absent)


async def test_who_logs_out_and_in_is_somebody_else(drive: Drive, pod: Pod) -> None:
    async with connected(drive, pod, "alice") as client:
        await client.told("connect")
        await client.write(disconnect=None, auth={"token": token("bob")}, connect=None)
        assert (await client.told("disconnect"))["reason"] == "io client disconnect"
        await client.told("connect", 2)
        assert await client.ask("user") == ["bob"]


async def test_a_closed_transport_brings_the_client_back_and_a_barred_user_stays_away(
    drive: Drive, pod: Pod
) -> None:
    hub = pod.gateway.sessions._hub
    async with connected(drive, pod, "alice") as client:
        await client.told("connect")
        begin = len(client.reports)
        hub.of_user("alice")[0].close(close_codes.EXPIRED)
        assert (await client.told("disconnect"))["reason"] == "transport close"
        await client.told("connect", begin)
        begin = len(client.reports)
        hub.of_user("alice")[0].close(close_codes.disconnected("enough", reconnect=False))
        assert (await client.told("disconnect", begin))["reason"] == "io server disconnect"


async def test_an_unknown_namespace_is_a_connect_error(drive: Drive, pod: Pod) -> None:
    async with drive(pod.url("/nowhere"), **WEBSOCKET) as client:
        assert (await client.told("connect_error"))["message"] == "Invalid namespace"


async def test_short_heartbeats_keep_a_quiet_client(
    drive: Drive, redis_url: str, namespace: str
) -> None:
    """And the client hears enough of them to stay: longer than both times together."""
    short = {"socketio_ping_interval_seconds": 0.3, "socketio_ping_timeout_seconds": 2}
    async with (
        started(redis_url, namespace, **short) as pod,
        connected(drive, pod, reportPings=True) as client,
    ):
        await client.told("connect")
        for _ in range(10):
            await client.told("ping", len(client.reports))
        assert {each["kind"] for each in client.reports} == {"connect", "ping"}
        assert sum(each["kind"] == "connect" for each in client.reports) == 1


async def test_clients_of_a_draining_pod_come_back_to_another(
    drive: Drive, redis_url: str, namespace: str
) -> None:
    async with (
        started(redis_url, namespace, pod="pod-a") as first,
        started(redis_url, namespace, pod="pod-b") as second,
        balanced([first.port, second.port]) as url,
        drive(url, **WEBSOCKET) as client,
    ):
        await client.told("connect")
        begin = len(client.reports)
        here, there = (first, second) if len(first.gateway.sessions._hub) else (second, first)
        draining = asyncio.create_task(here.gateway.drain.run())
        assert (await client.told("disconnect", begin))["reason"] == "transport close"
        await client.told("connect", begin)
        assert len(there.gateway.sessions._hub) == 1
        await there.publish(ALL, "tick")
        await client.event("tick", begin)
        await draining


async def test_a_client_recovers_what_it_missed_on_another_pod(
    drive: Drive, module: str, redis_url: str, namespace: str
) -> None:
    """Again and again, and before any event has come. The first client of 4 does not know it."""
    if module != "socket.io-client":
        pytest.skip("recovery came with 4.6")
    async with (
        started(redis_url, namespace, pod="pod-a") as first,
        started(redis_url, namespace, pod="pod-b") as second,
        balanced([first.port, second.port]) as url,
    ):
        for pod in (first, second):

            async def has_key(pod: Pod = pod) -> bool:
                return pod.gateway.sessions.recovery.key is not None

            await eventually(has_key)
        auth = {"token": token("alice"), "recovery": True}
        async with drive(url, **{**WEBSOCKET, "auth": auth, "reconnectionDelay": 500}) as client:
            assert not (await client.told("connect"))["recovered"]
            for turn in range(3):
                begin = len(client.reports)
                await client.write(cut=None)
                await client.told("disconnect", begin)
                await first.publish(Audience("user", "alice"), "missed", b"%d" % turn)
                assert (await client.told("connect", begin))["recovered"]
                assert (await client.event("missed", begin))[0] == turn
            missed = [each["args"][0] for each in client.reports if each["kind"] == "event"]
            assert missed == [0, 1, 2], "each once"
