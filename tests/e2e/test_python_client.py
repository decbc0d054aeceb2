"""`clarion.client` over two real gateways: every event once, whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clarion.client import (
    Client,
    ClosedError,
    Connecting,
    Event,
    Open,
    Refresh,
    RefusalError,
    Status,
    TokenContext,
    renewal,
)
from tests.e2e.stack import Stack, make_stack
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

SECONDS = 90
TRANSPORTS = ["websocket", "sse"]


class Heard:
    """A client that runs in a task, and everything that it tells."""

    def __init__(self, stack: Stack, user: str | None = None, **options: Any) -> None:
        self.data: list[Any] = []
        self.refreshes: list[Refresh] = []
        self.statuses: list[Status] = []
        self.reasons: list[str] = []
        self._changed = asyncio.Event()

        def make(context: TokenContext) -> str | None:
            self.reasons.append(context.reason)
            return user and stack.token(user, **self.claims)

        self.claims: dict[str, Any] = options.pop("claims", {})
        options = {"get_token": make, **options}
        urls = [gateway.url for gateway in stack.gateways]
        self.client = Client(urls, on_status=self._note, **options)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[Heard]:
        """Follow until the context ends; begin once it is connected."""
        task = asyncio.create_task(self._follow())
        try:
            await self.until(lambda: isinstance(self.client.status, Open))
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not reached():
                self._changed.clear()
                await self._changed.wait()

    @property
    def pods(self) -> list[str]:
        return [status.pod for status in self.statuses if isinstance(status, Open)]

    def _note(self, status: Status) -> None:
        self.statuses.append(status)
        self._changed.set()

    async def _follow(self) -> None:
        async with self.client:
            async for item in self.client:
                if isinstance(item, Event):
                    self.data.append(item.data)
                elif isinstance(item, Refresh):
                    self.refreshes.append(item)
                self._changed.set()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("ending", ["kill", "terminate"])
async def test_gateways_go_and_nothing_is_lost_or_doubled(
    own_stack: Stack, ending: str, transport: str
) -> None:
    audiences = ["all", "authenticated", {"user": "zoe"}, {"topic": "news"}]
    claims = {"subscribe": ["news"]}
    heard = Heard(own_stack, "zoe", topics=["news"], claims=claims, transport=transport)
    async with heard.following():
        for turn in range(4):
            gateway = own_stack.gateways[turn % 2]
            for number in range(20):
                await own_stack.publish(audiences[number % 4], "tick", [turn, number])
                if number == 10:
                    getattr(gateway, ending)()
            gateway.wait()
            await heard.until(lambda: heard.data[-1:] == [[turn, 19]])  # noqa: B023
            gateway.start()
            await asyncio.to_thread(gateway.wait_until_ready)
    assert heard.data == [[turn, number] for turn in range(4) for number in range(20)]
    assert [refresh.reason for refresh in heard.refreshes] == ["first"]
    assert len(heard.pods) > 3


async def test_a_client_that_is_restarted_goes_on_where_it_was(stack: Stack) -> None:
    first = Heard(stack, "ann")
    async with first.following():
        await stack.publish({"user": "ann"}, "tick", 1)
        await stack.publish({"user": "ann"}, "tick", 2)
        await first.until(lambda: first.data == [1, 2])
    position = first.client.position
    assert position is not None
    await stack.publish({"user": "ann"}, "tick", 3)
    second = Heard(stack, "ann", since=position)
    async with second.following():
        await second.until(lambda: second.data[-1:] == [3])
    # The first may have been ended while it had the last event in hand: it then comes again.
    assert second.data in ([3], [2, 3])
    assert second.refreshes == []


async def test_a_token_that_ends_is_replaced_in_band(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_MIN_SECONDS", 0.05)
    heard = Heard(stack, "eve", claims={"expires_seconds": 2})
    async with heard.following():
        await heard.until(lambda: heard.reasons.count("expiring") >= 2)
        await stack.publish({"user": "eve"}, "tick", 1)
        await heard.until(lambda: heard.data == [1])
    assert set(heard.reasons) == {"connect", "expiring"}
    assert not any(isinstance(status, Connecting) for status in heard.statuses[1:])


async def test_a_token_that_ends_is_replaced_by_a_new_stream(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_MIN_SECONDS", 0.05)
    heard = Heard(stack, "eva", claims={"expires_seconds": 2}, transport="sse")
    async with heard.following():
        for number in range(30):
            await stack.publish({"user": "eva"}, "tick", number)
            await asyncio.sleep(0.1)
        await heard.until(lambda: heard.data[-1:] == [29])
        await heard.until(lambda: heard.reasons.count("expiring") >= 2)
    assert heard.data == [*range(30)]
    assert set(heard.reasons) == {"connect", "expiring"}


async def test_a_revoked_token_is_replaced_and_nothing_is_lost(stack: Stack) -> None:
    heard = Heard(stack, "rita")
    async with heard.following():
        await stack.publish({"user": "rita"}, "tick", 1)
        await stack.order("/v1/users/rita/revoke")
        await stack.publish({"user": "rita"}, "tick", 2)
        await heard.until(lambda: heard.data == [1, 2])
        await heard.until(lambda: len(heard.pods) == 2)
    assert heard.reasons[:2] == ["connect", "refused"]


@pytest.mark.parametrize("token", ["nonsense", None])
async def test_a_token_that_no_gateway_takes_ends_the_client(
    shared_valkey: Valkey, tmp_path: Path, namespace: str, token: str | None
) -> None:
    """Also of a client without a token, where the gateway admits no anonymous clients."""
    strict = make_stack(tmp_path, shared_valkey.url, namespace, GATEWAY_ALLOW_ANONYMOUS="false")
    strict.gateways[0].start()
    try:
        await asyncio.to_thread(strict.gateways[0].wait_until_ready)
        client = Client(strict.gateways[0].url, get_token=lambda _: token)
        async with asyncio.timeout(SECONDS), client:
            with pytest.raises(ClosedError) as error:
                await anext(aiter(client))
    finally:
        strict.gateways[0].kill()
    assert error.value.code == 4401


async def test_a_barred_user_is_told_so(stack: Stack) -> None:
    client = Client(stack.gateways[0].url, get_token=lambda _: stack.token("gus"))
    async with asyncio.timeout(SECONDS), client:
        items = aiter(client)
        assert isinstance(await anext(items), Refresh)
        body = {"reason": "banned", "reconnect": False}
        await stack.order("/v1/users/gus/disconnect", body)
        with pytest.raises(ClosedError, match="4403 banned"):
            await anext(items)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_talks_to_the_applications_handlers(stack: Stack, transport: Any) -> None:
    client = Client(
        stack.gateways[0].url, get_token=lambda _: stack.token("ada"), transport=transport
    )
    async with asyncio.timeout(SECONDS), client:
        reply = await client.send("chat.message", {"text": "hi"})
        assert reply["text"] == "hi"
        with pytest.raises(RefusalError) as error:
            await client.send("no.such.type")
    assert error.value.code == "unknown_type"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_topics_are_asked_for_on_the_open_connection_and_after_a_loss(
    own_stack: Stack, transport: str
) -> None:
    heard = Heard(own_stack, "tom", claims={"subscribe": ["room.*"]}, transport=transport)
    async with heard.following():
        await heard.client.subscribe("room.1", "room.2")
        with pytest.raises(RefusalError, match="not granted: secret"):
            await heard.client.subscribe("secret")
        with pytest.raises(RefusalError, match="invalid_topic"):
            await heard.client.subscribe("room.*")
        await heard.client.unsubscribe("room.2")
        for number, topic in enumerate(["room.1", "room.2", "secret", "room.1"]):
            await own_stack.publish({"topic": topic}, "tick", number)
        await heard.until(lambda: heard.data[-1:] == [3])
        (gateway,) = (g for g in own_stack.gateways if g.program.name == heard.pods[-1])
        gateway.kill()
        await own_stack.publish({"topic": "room.1"}, "tick", 4)
        await heard.until(lambda: heard.data[-1:] == [4])
    assert heard.data == [0, 3, 4]


async def test_a_topics_past_comes_with_the_subscription(stack: Stack) -> None:
    for number in range(4):
        await stack.publish({"topic": "past.1"}, "tick", number)
    heard = Heard(stack, "pat", claims={"subscribe": ["past.*"]})
    async with heard.following():
        past = await heard.client.subscribe("past.1", last=2)
        await stack.publish({"topic": "past.1"}, "tick", 4)
        await heard.until(lambda: heard.data == [4])
    assert [event.data for event in past.events] == [2, 3]
    assert {event.topic for event in past.events} == {"past.1"}
    assert past.not_resumed == ()


@pytest.fixture
def lasting_stack(lasting_valkey: Valkey, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    """A stack whose Redis may be restarted."""
    made = make_stack(tmp_path, lasting_valkey.url, namespace)
    with made.running():
        yield made


async def test_redis_restarts_and_nothing_is_lost(
    lasting_stack: Stack, lasting_valkey: Valkey
) -> None:
    heard = Heard(lasting_stack, "zoe")
    async with heard.following():
        await lasting_stack.publish({"user": "zoe"}, "tick", 1)
        await asyncio.to_thread(lasting_valkey.kill)
        await asyncio.to_thread(lasting_valkey.start)
        await asyncio.to_thread(
            wait_until, lambda: accepted(lasting_stack, 2), "the publisher takes an event"
        )
        await heard.until(lambda: 2 in heard.data)
    assert heard.data == [1, 2]


def accepted(stack: Stack, number: int) -> bool:
    event = {"audience": {"user": "zoe"}, "type": "tick", "data": number, "key": f"n-{number}"}
    return asyncio.run(stack.attempt(event)).is_success
