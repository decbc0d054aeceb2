"""A publisher dies after Redis has accepted an event and before the publisher could answer.

The producer does not know the outcome, and sends the same bytes and key to another publisher.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from clarion_cli.token import SCOPES
from tests.e2e.client import Socket, opened
from tests.e2e.ports import free_ports
from tests.e2e.stack import Service, Stack
from tests.proxy import Proxy, proxied
from tests.valkey import Valkey


@dataclass
class Doomed:
    """A publisher that can be cut off from Redis' answers."""

    service: Service
    proxy: Proxy

    def hear_nothing(self) -> None:
        """From now on, what it sends to Redis arrives, but Redis' answers do not."""
        self.proxy.all_silent = True
        for link in self.proxy.links:
            link.silent = True


@pytest.fixture
async def doomed(own_stack: Stack, shared_valkey: Valkey, tmp_path: Path) -> AsyncIterator[Doomed]:
    """A second publisher, next to the stack's own."""
    port = free_ports(2)
    async with proxied(shared_valkey.port) as proxy:
        program = own_stack.publisher.program
        moved = {
            "CLARION_REDIS_URL": proxy.url,
            "PUBLISHER_PORT": str(port),
            "PUBLISHER_INTERNAL_PORT": str(port + 1),
        }
        service = Service(
            replace(program, environment={**program.environment, **moved}),
            f"http://127.0.0.1:{port}",
            f"http://127.0.0.1:{port + 1}",
            tmp_path / "doomed.log",
        )
        service.start()
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield Doomed(service, proxy)
        finally:
            service.kill()


def producer(stack: Stack) -> httpx.AsyncClient:
    token = stack.signer.sign("tests", scope=" ".join(SCOPES), expires_seconds=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.AsyncClient(trust_env=False, timeout=30, headers=headers)


async def killed_before_it_answers(
    client: httpx.AsyncClient, doomed: Doomed, alice: Socket, path: str, body: bytes
) -> str:
    """Send a request; SIGKILL the publisher once its first event has reached a client.

    The request gets no answer. Returns the event's id.
    """
    doomed.hear_nothing()
    request = asyncio.create_task(client.post(doomed.service.url + path, content=body))
    accepted = await alice.receive()
    assert accepted["kind"] == "event", accepted
    assert not request.done(), "nobody has answered yet"
    await asyncio.to_thread(doomed.service.kill)
    with pytest.raises(httpx.TransportError):
        await request
    return str(accepted["id"])


async def test_a_retry_elsewhere_does_not_double_the_event(
    own_stack: Stack, doomed: Doomed
) -> None:
    event = {"audience": {"user": "alice"}, "type": "order.paid", "data": 42, "key": "42-paid"}
    body = json.dumps(event).encode()
    async with (
        producer(own_stack) as client,
        opened(own_stack.gateways[0].url, own_stack.token("alice")) as alice,
    ):
        first = await killed_before_it_answers(client, doomed, alice, "/v1/events", body)
        answer = await client.post(f"{own_stack.publisher.url}/v1/events", content=body)
        end = await own_stack.publish("all", "the.end")
        heard = [event["id"] for event in await alice.events_until("the.end")]

    assert answer.status_code == 200
    assert answer.json()["duplicate"] is True
    assert answer.json()["id"] == first
    assert heard == [end], "no second one came in between"


async def test_a_retry_of_a_batch_doubles_none_of_it(own_stack: Stack, doomed: Doomed) -> None:
    """Not even those of its events that no client had yet when the publisher died."""
    events = [
        {"audience": audience, "type": "tick", "data": number, "key": f"tick-{number}"}
        for number, audience in enumerate(["all", "authenticated", {"user": "alice"}] * 16)
    ]
    body = json.dumps({"events": events}).encode()
    async with (
        producer(own_stack) as client,
        opened(own_stack.gateways[0].url, own_stack.token("alice")) as alice,
    ):
        await killed_before_it_answers(client, doomed, alice, "/v1/events:batch", body)
        answer = await client.post(f"{own_stack.publisher.url}/v1/events:batch", content=body)
        await own_stack.publish("all", "the.end")
        heard = [event["data"] for event in await alice.events_until("the.end")]

    assert answer.status_code == 200
    assert [result["duplicate"] for result in answer.json()["results"]] == [True] * 48
    assert heard == [*range(1, 48), None]
