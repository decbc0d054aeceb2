"""The JavaScript client over two real gateways: every event once, whatever happens to them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.clients.balancer import balanced
from tests.clients.js.conftest import Drive, Driven
from tests.e2e.stack import Service, Stack, make_stack
from tests.tcp import listening, port_of
from tests.valkey import Valkey

TRANSPORTS = ["websocket", "sse"]


@contextmanager
def _stack(valkey: Valkey, folder: Path, namespace: str, **changes: str) -> Iterator[Stack]:
    made = make_stack(folder, valkey.url, namespace, GATEWAY_DRAIN_SPREAD_SECONDS="0.2", **changes)
    with made.running():
        yield made


@pytest_asyncio.fixture
async def address(stack: Stack) -> AsyncIterator[str]:
    """Of a load balancer before both gateways."""
    async with _balancer(stack) as url:
        yield url


def _balancer(stack: Stack) -> AbstractAsyncContextManager[str]:
    return balanced([_port(gateway) for gateway in stack.gateways])


def _port(service: Service) -> int:
    port = httpx.URL(service.url).port
    assert port is not None
    return port


async def _heard(client: Driven, last: object) -> None:
    await client.reported(lambda report: report.get("data") == last)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("ending", ["kill", "terminate"])
async def test_gateways_go_and_nothing_is_lost_or_doubled(
    stack: Stack, address: str, drive: Drive, transport: str, ending: str
) -> None:
    async with drive(url=address, transport=transport) as client:
        await client.status("open")
        for turn, gateway in enumerate(stack.gateways):
            for number in range(20):
                await stack.publish("all", "tick", [turn, number])
                if number == 10:
                    getattr(gateway, ending)()
            gateway.wait()
            await _heard(client, [turn, 19])
            gateway.start()
            gateway.wait_until_ready()
    assert client.data == [[turn, number] for turn in range(2) for number in range(20)]
    refreshes = [report for report in client.reports if report["kind"] == "refresh"]
    assert [refresh["reason"] for refresh in refreshes] == ["first"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_gateway_that_hangs_is_left(
    shared_valkey: Valkey, tmp_path: Path, namespace: str, drive: Drive, transport: str
) -> None:
    """As when a node is lost: nothing closes the connection, but its pings stay away."""
    with _stack(shared_valkey, tmp_path, namespace, GATEWAY_PING_INTERVAL_SECONDS="1") as stack:
        async with _balancer(stack) as url, drive(url=url, transport=transport) as client:
            await client.status("open")
            hanging = stack.gateways[0].process  # the balancer's first
            assert hanging is not None
            hanging.send_signal(signal.SIGSTOP)
            await stack.publish("all", "tick", "meanwhile")
            await _heard(client, "meanwhile")
    assert client.data == ["meanwhile"]
    assert any(report.get("reason") == "the gateway went silent" for report in client.reports)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_message_gets_the_handlers_reply(
    stack: Stack, address: str, drive: Drive, transport: str
) -> None:
    """By POST, the balancer takes each message to the next gateway."""
    async with drive(url=address, transport=transport) as client:
        answer = await client.command(send=["chat.message", {"text": "hi"}])
        assert answer["reply"]["text"] == "hi"
        refused = await client.command(send=["chat.message", {"text": ""}])
        assert (refused["name"], refused["code"]) == ("RefusalError", "invalid")
        unknown = await client.command(send=["no.such", None])
        assert unknown["code"] == "unknown_type"
        for number in range(4):
            answer = await client.command(send=["chat.message", {"text": f"{number}"}])
            assert answer["reply"]["text"] == f"{number}"
    assert client.data == [], "its own message comes as the reply only"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_topics_are_resumed_on_any_gateway(
    stack: Stack,
    address: str,
    drive: Drive,
    endpoint: tuple[TokenEndpoint, str],
    transport: str,
) -> None:
    tokens, url = endpoint
    tokens.answers = [(200, stack.token("alice", subscribe=["order.*"]))]
    options = {"url": address, "tokenUrl": url, "transport": transport, "topics": ["order.1"]}
    async with drive(**options) as client:
        assert (await client.status("open"))["topics"] == ["order.1"]
        await client.command(subscribe=["order.2"])
        refused = await client.command(subscribe=["room.1"])
        assert (refused["name"], refused["code"]) == ("RefusalError", "forbidden")
        for turn, gateway in enumerate(stack.gateways):
            for number in range(10):
                await stack.publish({"topic": f"order.{number % 3}"}, "tick", [turn, number])
                if number == 5:
                    gateway.kill()
            await stack.publish("all", "tick", [turn, "end"])
            await _heard(client, [turn, "end"])
            gateway.start()
            gateway.wait_until_ready()
        await client.command(unsubscribe=["order.1"])
        await client.reported(lambda report: report.get("topics") == ["order.2"])
        await stack.publish({"topic": "order.1"}, "tick", "unwanted")
        await stack.publish({"topic": "order.2"}, "tick", "last")
        await _heard(client, "last")
    expected = [[turn, n] for turn in range(2) for n in (1, 2, 4, 5, 7, 8, "end")]
    assert client.data == [*expected, "last"]
    topics = [report.get("topic") for report in client.reports if report["kind"] == "event"]
    assert topics[:3] == ["order.1", "order.2", "order.1"]
    assert topics[-2:] == [None, "order.2"]
    refreshes = [report for report in client.reports if report["kind"] == "refresh"]
    assert [(refresh["reason"], refresh.get("topic")) for refresh in refreshes] == [
        ("first", None),
        ("first", "order.2"),
    ]


async def test_the_application_asks_the_client(stack: Stack, address: str, drive: Drive) -> None:
    async with drive(url=address) as client:
        answer = await client.command(send=["ask.back", "all"])
        assert answer["reply"] == "yes to all"
        assert {"kind": "message", "data": "all"} in client.reports


async def test_a_subscription_brings_the_past_of_its_topic(
    stack: Stack, address: str, drive: Drive, endpoint: tuple[TokenEndpoint, str]
) -> None:
    tokens, url = endpoint
    tokens.answers = [(200, stack.token("alice", subscribe=["past"]))]
    for number in range(5):
        await stack.publish({"topic": "past"}, "tick", number)
    async with drive(url=address, tokenUrl=url) as client:
        await client.status("open")
        past = (await client.command(subscribe=["past", {"last": 3}]))["reply"]["events"]
        await stack.publish({"topic": "past"}, "tick", 5)
        await _heard(client, 5)
        # Another part of the page, which comes later.
        again = (await client.command(subscribe=["past", {"last": 2}]))["reply"]["events"]
    assert [event["data"] for event in past] == [2, 3, 4]
    assert [event["data"] for event in again] == [4, 5]
    assert client.data == [5]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_topic_that_cannot_be_is_refused_and_nothing_else(
    stack: Stack,
    address: str,
    drive: Drive,
    endpoint: tuple[TokenEndpoint, str],
    transport: str,
) -> None:
    tokens, url = endpoint
    tokens.answers = [(200, stack.token("alice", subscribe=["order.*"]))]
    options = {"url": address, "tokenUrl": url, "transport": transport}
    async with drive(**options, topics=["order.0"]) as client:
        await client.status("open")
        refused = await client.command(subscribe=["order .1"])
        assert (refused["name"], refused["code"]) == ("RefusalError", "invalid_topic")
        for number in range(1, 20):  # with the first one, as many as there may be
            await client.command(subscribe=[f"order.{number}"])
        refused = await client.command(subscribe=["order.20"])
        assert refused["code"] == "too_many_topics"
        await stack.publish({"topic": "order.0"}, "tick", 0)
        await stack.publish({"topic": "order.19"}, "tick", 19)
        await _heard(client, 19)
        assert client.data == [0, 19]
        assert not any(report.get("state") == "closed" for report in client.reports)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_handlers_get_last_values(
    stack: Stack,
    address: str,
    drive: Drive,
    endpoint: tuple[TokenEndpoint, str],
    transport: str,
) -> None:
    tokens, url = endpoint
    gold, tin = f"price.gold-{transport}", f"price.tin-{transport}"
    tokens.answers = [(200, stack.token("alice", subscribe=["price.*"]))]
    for number in range(3):
        await stack.publish({"topic": gold}, "tick", ["gold", number])
        await stack.publish({"topic": tin}, "tick", ["tin", number])
    options = {"url": address, "tokenUrl": url, "transport": transport}
    async with drive(**options, topics=[gold]) as client:
        await _heard(client, ["gold", 2])
        await client.command(subscribe=[tin])
        await _heard(client, ["tin", 2])
        await stack.publish({"topic": tin}, "tick", ["tin", 3])
        await _heard(client, ["tin", 3])
    assert client.data == [["gold", 2], ["tin", 2], ["tin", 3]]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_topics_clients_know_one_another(
    stack: Stack, address: str, drive: Drive, endpoint: tuple[TokenEndpoint, str], transport: str
) -> None:
    """On both gateways, over the death of one of them."""
    tokens, url = endpoint
    room = f"room.{transport}"
    claims = {"subscribe": ["room.*"]}
    tokens.answers = [(200, stack.token("alice", **claims)), (200, stack.token("bob", **claims))]
    options = {"url": address, "tokenUrl": url, "transport": transport, "presence": [room]}

    def has(*members: str) -> Callable[[dict[str, Any]], bool]:
        return lambda report: report.get("members") == list(members)

    async with drive(**options, topics=[room]) as alice:
        await alice.reported(has("alice"))
        async with drive(**options) as bob:
            await bob.status("open")
            await bob.command(subscribe=[room])
            for client in (alice, bob):
                both = await client.reported(has("alice", "bob"))
                assert (both["topic"], both["users"], both["connections"]) == (room, 2, 2)
            tokens.answers = [(200, stack.token("alice", **claims))]  # she alone comes back
            begin = len(alice.reports)
            await bob.command(unsubscribe=[room])
            await alice.reported(has("alice"), begin)
        for gateway in stack.gateways:
            begin = len(alice.reports)
            gateway.kill()
            gateway.start()
            gateway.wait_until_ready()
        await alice.reported(has("alice"), begin)


class TokenEndpoint:
    """An application's endpoint; each test says what it answers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, body = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        phrase = BaseHTTPRequestHandler.responses.get(status, ("", ""))[0]
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(f"{head}\r\n\r\n{body}".encode())
        await writer.drain()


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[tuple[TokenEndpoint, str]]:
    tokens = TokenEndpoint()
    async with listening(tokens.serve) as server:
        yield tokens, f"http://127.0.0.1:{port_of(server)}/token"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_token_endpoint_that_answers_401_closes_the_client(
    address: str, drive: Drive, endpoint: tuple[TokenEndpoint, str], transport: str
) -> None:
    tokens, url = endpoint
    tokens.answers = [(401, "")]
    async with drive(url=address, tokenUrl=url, transport=transport) as client:
        closed = await client.reported(lambda report: report.get("code") == "stopped")
    assert closed["reason"].startswith("not logged in")
    assert tokens.asked == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_broken_token_endpoint_is_asked_again(
    stack: Stack,
    address: str,
    drive: Drive,
    endpoint: tuple[TokenEndpoint, str],
    transport: str,
) -> None:
    tokens, url = endpoint
    tokens.answers = [(500, ""), (200, stack.token("alice"))]
    async with drive(url=address, tokenUrl=url, transport=transport) as client:
        assert (await client.status("open"))["user"] == "alice"
        assert any("answered with 500" in report.get("reason", "") for report in client.reports)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_bad_token_is_replaced_once(
    stack: Stack,
    address: str,
    drive: Drive,
    endpoint: tuple[TokenEndpoint, str],
    transport: str,
) -> None:
    tokens, url = endpoint
    tokens.answers = [(200, "bad")]
    async with drive(url=address, tokenUrl=url, transport=transport) as client:
        closed = await client.reported(lambda report: report.get("code") in {401, 4401})
        assert closed["state"] == "closed"
    assert tokens.asked == 2


async def test_a_token_is_refreshed_before_it_ends(
    stack: Stack, address: str, drive: Drive, endpoint: tuple[TokenEndpoint, str]
) -> None:
    tokens, url = endpoint
    tokens.answers = [(200, stack.token("alice", 3)), (200, stack.token("alice"))]
    async with drive(url=address, tokenUrl=url) as client:
        opened = await client.status("open")
        begin = client.reports.index(opened) + 1  # the next one may have come already
        await client.status("open", begin)  # `identity` has come
        assert tokens.asked == 2
        connections = {report.get("connection") for report in client.reports} - {None}
        assert len(connections) == 1


async def test_a_barred_user_is_told_why_and_does_not_come_back(
    stack: Stack, address: str, drive: Drive, endpoint: tuple[TokenEndpoint, str]
) -> None:
    tokens, url = endpoint
    tokens.answers = [(200, stack.token("mallory"))]
    async with drive(url=address, tokenUrl=url) as client:
        await client.status("open")
        await stack.order(
            "/v1/users/mallory/disconnect", {"reason": "you spammed", "reconnect": False}
        )
        closed = await client.reported(lambda report: report.get("code") == 4403)
        assert (closed["state"], closed["reason"]) == ("closed", "you spammed")
