"""An application's handlers on real gateways: answers, failures, and replies that reach other pods.

The handlers are in this module; gateways mount them by its name.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel, Field

from clarion import (
    Context,
    Handlers,
    Refusal,
    SubscribeContext,
    authenticated_only,
    propagate,
    topic,
    user,
)
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually, started, token
from tests.integration.sockets import Client, opened
from tests.valkey import Valkey

handlers = Handlers()
MOUNTED = {"handlers": f"{__name__}:handlers"}

AWKWARD = {"text": 'ü \u2028 </script> \\ "', "number": 1e-7, "none": None, "list": [1, [2.5, {}]]}
GATE = threading.Event()


class Chat(BaseModel):
    text: str = Field(min_length=1)


@handlers.on("chat", propagate(to="all"))
async def chat(message: Chat, context: Context) -> dict[str, Any]:
    return {"text": message.text, **AWKWARD, "sender": context.user}


@handlers.on("note", propagate(to=lambda context, _: user(str(context.user))))
async def note(message: str, context: Context) -> str:
    return message


@handlers.on("secret", authenticated_only())
async def secret(message: Any, context: Context) -> str:
    return "told"


@handlers.on("echo")
async def echo(message: Any, context: Context) -> Any:
    return message


@handlers.on("join")
async def join(message: str, context: Context) -> None:
    await context.subscribe(message)


@handlers.on("leave")
async def leave(message: str, context: Context) -> None:
    await context.unsubscribe(message)


@handlers.on_subscribe("room.*")
def enter(context: SubscribeContext) -> bool:
    if context.topic == "room.full":
        raise Refusal("full", "the room is full")
    return context.user == "alice"


@handlers.on("raises")
async def raises(message: Any, context: Context) -> None:
    raise ZeroDivisionError("the application's bug")


@handlers.on("cancels")
async def cancels(message: Any, context: Context) -> None:
    raise asyncio.CancelledError


@handlers.on("hangs")
async def hangs(message: Any, context: Context) -> None:
    await asyncio.Event().wait()


@handlers.on("times.out.itself")
async def times_out_itself(message: Any, context: Context) -> None:
    raise TimeoutError("of the application's own database")


@handlers.on("refuses")
async def refuses(message: Any, context: Context) -> None:
    raise Refusal("too_low", "expected a bid above 0")


@handlers.on("nonsense", propagate(to="all"))
async def nonsense(message: str, context: Context) -> Any:
    ring: list[Any] = []
    ring.append(ring)
    return {"object": object(), "cycle": ring, "surrogate": "\ud800", "nested": [{1, object()}]}[
        message
    ]


@handlers.on("blocks")
def blocks(message: Any, context: Context) -> bool:
    """A plain function: it blocks its thread, not the loop."""
    assert GATE.wait(10)
    return threading.current_thread() is not threading.main_thread()


@handlers.on("opens.the.gate")
async def opens_the_gate(message: Any, context: Context) -> None:
    GATE.set()


@pytest.fixture
async def mounted(start: Start) -> AsyncIterator[Pod]:
    async with start(handler_seconds=0.3, **MOUNTED) as pod:
        yield pod


async def raw_data(client: Client, kind: str) -> bytes:
    """The bytes of ``data`` in the next message, as they came."""
    async with asyncio.timeout(60):
        payload = await client.connection.recv(decode=False)
    assert isinstance(payload, bytes)
    assert json.loads(payload)["kind"] == kind, payload
    return payload.partition(b'"data":')[2].removesuffix(b"}")


async def test_a_reply_reaches_other_pods_byte_for_byte_and_not_its_sender(start: Start) -> None:
    """Every client on every pod gets the event once; the sending connection gets the reply."""
    async with (
        start(pod="pod-a", **MOUNTED) as here,
        start(pod="pod-b", **MOUNTED) as there,
        opened(here, token=token("alice")) as sender,
        opened(here, token=token("alice")) as second,
        opened(here) as neighbour,
        opened(there) as far,
        opened(there, token=token("bob")) as bob,
    ):
        await sender.send(kind="message", ref=7, type="chat", data={"text": "hi"})
        reply = await raw_data(sender, "reply")
        events = [await raw_data(client, "event") for client in (second, neighbour, far, bob)]
        await here.publish(type_="marker")
        after = [await client.receive() for client in (sender, second, neighbour, far, bob)]

    assert json.loads(reply) == {"text": "hi", **AWKWARD, "sender": "alice"}
    assert events == [reply] * 4
    assert [message["type"] for message in after] == ["marker"] * 5


async def test_handlers_decide_about_topics_and_subscribe_their_clients(start: Start) -> None:
    async with (
        start(pod="pod-a", **MOUNTED) as here,
        opened(here, token=token("alice"), topic="room.1") as alice,
        opened(here, token=token("bob"), topic="room.1") as bob,
    ):
        assert alice.welcome["topics"] == ["room.1"]
        assert bob.welcome["forbidden"] == ["room.1"]
        await alice.send(kind="subscribe", ref=1, topics=["room.full", "room.2", "secret"])
        answer = await alice.receive("subscribed")
        assert (answer["topics"], answer["forbidden"]) == (["room.2"], ["secret"])
        assert answer["refused"] == [
            {"topic": "room.full", "code": "full", "message": "the room is full"}
        ]
        await bob.send(kind="message", ref=2, type="join", data="lobby")
        joined = await bob.receive("subscribed")
        assert (joined["ref"], joined["topics"]) == (None, ["lobby"])
        assert (await bob.receive("reply"))["ref"] == 2
        for name in ("lobby", "room.1"):
            await here.publish(topic(name), type_=name)
        assert (await bob.receive("event"))["type"] == "lobby"
        assert (await alice.receive("event"))["type"] == "room.1"
        await bob.send(kind="message", ref=3, type="leave", data="lobby")
        assert (await bob.receive("unsubscribed"))["topics"] == ["lobby"]
        assert (await bob.receive("reply"))["ref"] == 3
        failed = await bob.ask("join", "not a topic", ref=4)
        assert failed["code"] == "internal"


async def test_a_reply_can_go_to_one_user(start: Start) -> None:
    """The sender's other sockets get it on any pod, and nobody else does."""
    async with (
        start(pod="pod-a", **MOUNTED) as here,
        start(pod="pod-b", **MOUNTED) as there,
        opened(here, token=token("alice")) as sender,
        opened(there, token=token("alice")) as other,
        opened(there, token=token("bob")) as bob,
    ):
        assert (await sender.ask("note", "milk"))["data"] == "milk"
        event = await other.receive("event")
        assert (event["audience"], event["type"], event["data"]) == ("user", "note", "milk")
        await here.publish(type_="marker")
        for client in (sender, other, bob):
            assert (await client.receive("event"))["type"] == "marker"


@pytest.mark.parametrize(
    ("type_", "data", "code"),
    [
        ("raises", None, "internal"),
        ("cancels", None, "internal"),
        ("times.out.itself", None, "internal"),
        ("hangs", None, "timeout"),
        ("nonsense", "object", "internal"),
        ("nonsense", "cycle", "internal"),
        ("nonsense", "surrogate", "internal"),
        ("nonsense", "nested", "internal"),
        ("refuses", None, "too_low"),
        ("secret", None, "unauthenticated"),
        ("no.such.type", None, "unknown_type"),
        ("chat", {"text": ""}, "invalid"),
        ("chat", {}, "invalid"),
        ("chat", [], "invalid"),
        ("note", 5, "invalid"),
    ],
)
async def test_a_failure_is_its_senders_alone(
    mounted: Pod, type_: str, data: Any, code: str
) -> None:
    """The sender gets one error with its ref and stays connected; nobody else hears anything."""
    async with opened(mounted) as sender, opened(mounted) as other:
        error = await sender.ask(type_, data, ref="mine")
        again = await sender.ask("echo", [1, None], ref="next")
        await mounted.publish(type_="marker")
        heard = await other.receive("event")
        outcome = "refused" if code == "too_low" else code
        counted = await mounted.metric("clarion_messages_received_total", outcome=outcome)

    assert (error["kind"], error["ref"], error["code"]) == ("error", "mine", code)
    assert error["message"]
    assert "ZeroDivisionError" not in error["message"]
    assert (again["kind"], again["ref"], again["data"]) == ("reply", "next", [1, None])
    assert heard["type"] == "marker"
    assert counted == 1


async def test_invalid_data_name_the_field(mounted: Pod) -> None:
    async with opened(mounted) as client:
        error = await client.ask("chat", {"text": 5})
    assert error["message"].startswith("data.text: ")


async def test_a_plain_function_blocks_nobody(start: Start) -> None:
    """It runs in a thread: the message that releases it is handled meanwhile."""
    GATE.clear()
    async with start(**MOUNTED) as pod, opened(pod) as blocked, opened(pod) as other:
        await blocked.send(kind="message", ref=1, type="blocks", data=None)
        assert (await other.ask("opens.the.gate"))["kind"] == "reply"
        in_thread = (await blocked.receive("reply"))["data"]
    assert in_thread is True


async def test_messages_of_one_client_are_handled_in_order(mounted: Pod) -> None:
    async with opened(mounted) as client:
        for ref in range(50):
            await client.send(kind="message", ref=ref, type="echo", data=ref)
        replies = [await client.receive("reply") for _ in range(50)]
    assert [(reply["ref"], reply["data"]) for reply in replies] == [(n, n) for n in range(50)]


async def test_without_redis_a_reply_that_should_propagate_fails(
    valkey: Valkey, namespace: str
) -> None:
    """The sender gets `unavailable`, and so knows that nobody heard it. Handlers that publish
    nothing go on. When Redis is back, all handlers work again."""
    async with started(valkey.url, namespace, **MOUNTED) as pod, opened(pod) as client:
        valkey.kill()
        error = await client.ask("chat", {"text": "hi"})
        reply = await client.ask("echo", 1)
        await asyncio.to_thread(valkey.start)

        async def answered() -> bool:
            while (message := await client.receive())["kind"] == "event":
                pass
            return message["kind"] == "reply"

        async def works() -> bool:
            await client.send(kind="message", ref=2, type="chat", data={"text": "hi"})
            return await answered()

        await eventually(works, what="propagation after the restart")

    assert (error["kind"], error["code"]) == ("error", "unavailable")
    assert (reply["kind"], reply["data"]) == ("reply", 1)
