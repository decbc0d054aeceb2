"""An application's life in a gateway: its lifespan begins before the clients and ends last, and it
hears of each client that comes and goes.

The handlers are in this module; gateways mount them by its name.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from clarion import AskFailed, ConnectContext, Context, DisconnectContext, Handlers, Refusal
from tests.integration.conftest import Start
from tests.integration.pod import eventually, token
from tests.integration.sockets import dialled, opened, streamed
from tests.processes import Process, running

handlers = Handlers()
MOUNTED = {"handlers": f"{__name__}:handlers"}
GONE: list[tuple[str | None, str]] = []


@handlers.on_connect(headers=["x-tenant"])
async def connected(context: ConnectContext) -> None:
    if context.query.get("refuse"):
        raise Refusal(context.query["refuse"], "not today")
    await context.send("greeting", context.user)
    context.data["seen"] = [context.claims.get("plan"), dict(context.query), dict(context.headers)]


@handlers.on_disconnect
async def gone(context: DisconnectContext) -> None:
    GONE.append((context.user, context.reason))


@handlers.on("order")
async def order(message: Any, context: Context) -> Any:
    await context.send("order.begun", message)
    try:
        return await context.ask("sure", message, timeout=60)
    except AskFailed as failed:
        GONE.append((context.user, failed.code))
        raise


@handlers.on("seen")
async def seen(message: Any, context: Context) -> Any:
    return context.data["seen"]


@pytest.fixture(autouse=True)
def _forget() -> None:
    GONE.clear()


async def has_gone(user: str, reason: str) -> None:
    async def told() -> bool:
        return (user, reason) in GONE

    await eventually(told, what=f"{user} has gone: {reason}")


async def test_a_client_is_seen_before_it_is_welcomed(start: Start) -> None:
    async with start(**MOUNTED) as pod:
        headers = {
            "X-Tenant": "shop", "Cookie": "secret", "Authorization": f"Bearer {token('alice', plan='pro')}",
        }  # fmt: skip
        async with opened(pod, headers=headers, page="home") as alice:
            greeting = {"kind": "message", "type": "greeting", "data": "alice"}
            assert await alice.receive() == greeting
            assert (await alice.ask("seen"))["data"] == [
                "pro", {"page": "home"}, {"x-tenant": "shop"},
            ]  # fmt: skip


async def test_a_refused_client_gets_no_connection(start: Start) -> None:
    async with start(**MOUNTED) as pod:
        async with dialled(pod, refuse="no_plan") as connection:
            await asyncio.wait_for(connection.wait_closed(), 30)
            assert (connection.close_code, connection.close_reason) == (4403, "no_plan: not today")
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(pod.url("/sse"), params={"refuse": "no_plan"})
        assert (answer.status_code, answer.json()["detail"]) == (403, "no_plan: not today")
        assert await pod.metric("clarion_handshakes_total", outcome="refused") == 2
        assert await pod.metric("clarion_hooks_total", hook="connect", outcome="refused") == 2
    assert GONE == []


async def test_every_end_is_heard_with_its_reason(start: Start) -> None:
    def login(user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token(user)}"}

    async with start(**MOUNTED, drain_grace_seconds=30) as pod:
        async with opened(pod, headers=login("leaving")):
            pass
        await has_gone("leaving", "normal")
        async with opened(pod, headers=login("lost")) as lost:
            lost.connection.transport.abort()
            await has_gone("lost", "abnormal")
        async with streamed(pod, **login("streaming")) as stream:
            await stream.welcomed()
            assert (await stream.receive()).type == "greeting"
        await has_gone("streaming", "normal")
        async with opened(pod, headers=login("binary")) as binary:
            await binary.connection.send(b"bytes")
            await has_gone("binary", "unsupported_data")
        async with opened(pod, headers=login("staying")), opened(pod) as changing:
            await changing.receive("message")
            await changing.log_in(token("changed"))
            await pod.gateway.drain.run()
    assert {("staying", "draining"), ("changed", "draining")} <= set(GONE)
    assert len(GONE) == len(set(GONE)) == 6


async def test_the_application_asks_and_the_client_answers(start: Start) -> None:
    async with start(**MOUNTED, handler_seconds=60) as pod, opened(pod) as client:
        await client.receive("message")
        await client.send(kind="message", ref="m", type="order", data={"tea": 1})
        begun, question = await client.receive("message"), await client.receive("ask")
        assert (begun["type"], begun["data"]) == ("order.begun", {"tea": 1})
        assert (question["type"], question["data"]) == ("sure", {"tea": 1})
        await client.send(kind="answer", ref=question["ref"], data=["yes"])
        reply = await client.receive("reply")
        assert (reply["ref"], reply["data"]) == ("m", ["yes"])

        await client.send(kind="message", ref="n", type="order", data=None)
        await client.receive("message")
        question = await client.receive("ask")
        refusal = {"code": "unknown_type", "message": "nobody listens"}
        await client.send(kind="answer", ref=question["ref"], error=refusal)
        error = await client.receive("error")
        assert (error["ref"], error["code"]) == ("n", "ask_refused")
        assert error["message"] == "unknown_type: nobody listens"
        await client.send(kind="answer", ref=question["ref"])
        await pod.counted("clarion_asks_total", outcome="unasked")


async def test_a_question_fails_when_its_client_has_gone(start: Start) -> None:
    async with start(**MOUNTED, handler_seconds=60) as pod:
        headers = {"Authorization": f"Bearer {token('leaving')}"}
        async with opened(pod, headers=headers) as client:
            await client.send(kind="message", type="order")
            while (await client.receive())["kind"] != "ask":
                pass
        await has_gone("leaving", "ask_closed")


# Writes down what happens, in order.
LIVING: Final = """
import asyncio
from pathlib import Path
from clarion import Handlers

NOTES = Path(__file__).with_name("notes")
handlers = Handlers()

def note(text):
    with NOTES.open("a") as notes:
        notes.write(text + "\\n")

@handlers.lifespan
async def pool():
    note("opens")
    yield "pool"
    note("closes")

@handlers.on("use")
async def use(message, context):
    note(f"uses {context.state}")
    await asyncio.sleep(message)
    note("used")

def create():
    return handlers
"""

FAILING: Final = """
from clarion import Handlers

handlers = Handlers()

@handlers.lifespan
async def pool():
    raise OSError("no\\ndatabase")
    yield
"""


class Gateway:
    """What `opened` needs of a pod."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def url(self, path: str = "/ws") -> str:
        return self._process.url.replace("http", "ws", 1) + path


async def test_a_lifespan_lasts_until_the_last_handler_has_ended(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "living.py").write_text(LIVING)
    mounted = {"PYTHONPATH": str(tmp_path), "GATEWAY_HANDLERS": "living:create"}
    with running("gateway", tmp_path, redis_url, CLARION_NAMESPACE=namespace, **mounted) as process:
        async with opened(Gateway(process)) as client:
            await client.send(kind="message", ref=1, type="use", data=0)
            await client.receive("reply")
            await client.send(kind="message", ref=2, type="use", data=0.5)
            while (tmp_path / "notes").read_text().count("uses") < 2:
                await asyncio.sleep(0.01)
            code = await asyncio.to_thread(process.stop)
    assert code == 0
    assert (tmp_path / "notes").read_text().splitlines() == [
        "opens", "uses pool", "used", "uses pool", "used", "closes",
    ]  # fmt: skip


def test_a_lifespan_that_fails_ends_the_start_with_one_line(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    log = tmp_path / "gateway.log"
    mounted = {"PYTHONPATH": str(tmp_path), "GATEWAY_HANDLERS": "failing:handlers"}
    with Process("gateway", log, redis_url, CLARION_NAMESPACE=namespace, **mounted) as process:
        assert process.end() == 2
    assert "Traceback" not in log.read_text()
    assert log.read_text().splitlines()[-1] == (
        "gateway: GATEWAY_HANDLERS=failing:handlers: the lifespan pool failed: "
        f"OSError: no database ({tmp_path / 'failing.py'}:8)"
    )
