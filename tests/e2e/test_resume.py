"""A client reconnects to the other gateway: nothing is lost or doubled, or the client is told."""

from __future__ import annotations

import asyncio
import itertools

from tests.e2e.client import Fields, opened, streamed
from tests.e2e.stack import Stack


def ids(events: list[Fields]) -> list[str]:
    return [event["id"] for event in events]


async def test_what_was_missed_comes_from_all_streams_in_order(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("alice")
    async with opened(first, token) as alice:
        seen = await stack.publish("all", "seen")
        assert (await alice.receive())["id"] == seen
        connection = alice.welcome["connection"]
    missed = [
        await stack.publish("all", "missed"),
        await stack.publish({"user": "alice"}, "missed"),
        await stack.publish("authenticated", "missed"),
        await stack.publish({"user": "alice"}, "missed"),
    ]
    await stack.publish({"user": "bob"}, "not.hers")
    async with opened(second, token, since=seen, connection=connection) as alice:
        assert alice.welcome["resumed"] is True
        last = await stack.publish("all", "the.end")
        assert ids(await alice.events_until("the.end")) == [*missed, last]


async def test_a_user_new_to_a_gateway_gets_what_was_published_just_before(stack: Stack) -> None:
    """No newer event on another stream has told the gateway the current position."""
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("newcomer")
    async with opened(first, token) as newcomer:
        position = newcomer.welcome["id"]
    missed = [await stack.publish({"user": "newcomer"}, "missed") for _ in range(3)]
    async with opened(second, token, since=position) as newcomer:
        assert newcomer.welcome["resumed"] is True
        assert ids(await newcomer.events_until("missed")) == missed[:1]
        assert ids([await newcomer.receive(), await newcomer.receive()]) == missed[1:]


async def test_resumes_from_the_position_in_its_welcome(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    async with opened(first) as guest:
        position = guest.welcome["id"]
        assert guest.welcome["resumed"] is None
    missed = await stack.publish("all", "missed")
    async with opened(second, since=position) as guest:
        assert guest.welcome["resumed"] is True
        assert (await guest.receive())["id"] == missed


async def test_nothing_is_lost_or_doubled_while_events_keep_coming(stack: Stack) -> None:
    """The switch from history to live events happens again and again, on both gateways."""
    published: list[str] = []

    async def produce() -> None:
        for number in range(120):
            audience = ("all", "authenticated", {"user": "carol"})[number % 3]
            published.append(await stack.publish(audience, "tick", number))
        published.append(await stack.publish("all", "the.end"))

    token = stack.token("carol")
    received: list[Fields] = []
    async with opened(stack.gateways[0].url, token) as carol:
        position = carol.welcome["id"]
    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        for turn in itertools.count(1):
            async with opened(stack.gateways[turn % 2].url, token, since=position) as carol:
                assert carol.welcome["resumed"] is True
                for _ in range(10):
                    received.append(await carol.receive())
                    if received[-1]["type"] == "the.end":
                        break
            position = received[-1]["id"]
            if received[-1]["type"] == "the.end":
                break
    assert turn > 8
    assert ids(received) == published


async def test_an_event_stream_resumes_from_its_last_event_id(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    async with streamed(first) as guest:
        await guest.receive()
        seen = await stack.publish("all", "seen")
        assert (await guest.receive())["id"] == seen
    missed = await stack.publish("all", "missed")
    async with streamed(second, None, seen) as guest:
        assert (await guest.receive())["data"]["resumed"] is True
        assert (await guest.receive())["id"] == missed


async def test_says_so_when_history_does_not_reach_back(stack: Stack) -> None:
    async with opened(stack.gateways[0].url, since="1") as guest:
        assert guest.welcome["resumed"] is False
        id_ = await stack.publish("all", "live")
        assert (await guest.receive())["id"] == id_


async def test_a_gateway_that_drains_sends_its_clients_to_the_other(own_stack: Stack) -> None:
    leaving, staying = own_stack.gateways
    async with opened(leaving.url) as guest, streamed(leaving.url) as stream:
        await stream.receive()
        seen = await own_stack.publish("all", "seen")
        assert (await guest.receive())["id"] == seen
        assert (await stream.receive())["id"] == seen
        leaving.terminate()
        hint = await guest.receive()
        assert hint["kind"] == "reconnect"
        assert hint["reason"] == "draining"
        assert 0 <= hint["after_ms"] <= 60_000
        assert await guest.close_code() == 1012
        assert (await stream.receive())["event"] == "$reconnect"
    assert await asyncio.to_thread(leaving.wait) == 0
    missed = await own_stack.publish("all", "missed")
    async with opened(staying.url, since=seen) as guest:
        assert guest.welcome["resumed"] is True
        assert (await guest.receive())["id"] == missed
