"""Three audiences over two gateways: each client gets exactly its events, once and in order."""

from __future__ import annotations

from contextlib import AsyncExitStack

import httpx

from tests.e2e.client import Fields, Socket, opened, streamed
from tests.e2e.stack import Stack


def types(events: list[Fields]) -> list[str]:
    return [event["type"] for event in events]


async def test_each_socket_gets_its_audiences_events_in_publish_order(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    async with AsyncExitStack() as clients:

        async def client(url: str, user: str | None) -> Socket:
            token = None if user is None else stack.token(user)
            return await clients.enter_async_context(opened(url, token))

        # Alice has two devices, on different gateways.
        people = {
            "guest": await client(first, None),
            "bob": await client(second, "bob"),
            "alice": await client(first, "alice"),
            "alice too": await client(second, "alice"),
        }
        await stack.publish("all", "to.all")
        await stack.publish({"user": "alice"}, "to.alice")
        await stack.publish("authenticated", "to.authenticated")
        await stack.publish({"user": "bob"}, "to.bob")
        await stack.publish("all", "the.end")
        got = {name: types(await person.events_until("the.end")) for name, person in people.items()}
    assert got == {
        "guest": ["to.all", "the.end"],
        "bob": ["to.all", "to.authenticated", "to.bob", "the.end"],
        "alice": ["to.all", "to.alice", "to.authenticated", "the.end"],
        "alice too": ["to.all", "to.alice", "to.authenticated", "the.end"],
    }


async def test_event_streams_get_the_same(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    async with streamed(first) as guest, streamed(second, stack.token("alice")) as alice:
        assert guest.response.headers["content-type"].startswith("text/event-stream")
        assert (await guest.receive())["data"]["user"] is None
        assert (await alice.receive())["data"]["user"] == "alice"
        id_ = await stack.publish("all", "to.all", {"n": 1})
        await stack.publish({"user": "alice"}, "to.alice", "line\nbreak")
        await stack.publish("all", "the.end")
        assert await guest.receive() == {"id": id_, "event": "to.all", "data": {"n": 1}}
        assert (await guest.receive())["event"] == "the.end"
        got = [(event["event"], event["data"]) for event in await alice.events_until("the.end")]
    assert got == [("to.all", {"n": 1}), ("to.alice", "line\nbreak"), ("the.end", None)]


async def test_an_event_arrives_as_it_was_published(stack: Stack) -> None:
    data = {"text": "Ünïcode 😀", "number": 1.5, "nothing": None, "nested": [{"deep": [[]]}]}
    async with opened(stack.gateways[0].url) as guest:
        id_ = await stack.publish("all", "order.updated", data)
        event = await guest.receive()
    assert event.pop("time").endswith("Z")
    assert event == {
        "kind": "event", "id": id_, "audience": "all", "type": "order.updated", "data": data,
    }  # fmt: skip


async def test_a_key_published_twice_arrives_once(stack: Stack) -> None:
    async with opened(stack.gateways[1].url) as guest:
        first = await stack.publish("all", "once", 1, key="k-1")
        assert await stack.publish("all", "once", 1, key="k-1") == first
        await stack.publish("all", "the.end")
        assert types(await guest.events_until("the.end")) == ["once", "the.end"]


async def test_an_excluded_connection_does_not_get_the_event(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    async with opened(first) as left_out, opened(second) as other:
        connection = left_out.welcome["connection"]
        await stack.publish("all", "for.others", exclude=connection)
        await stack.publish("all", "the.end")
        assert types(await left_out.events_until("the.end")) == ["the.end"]
        assert types(await other.events_until("the.end")) == ["for.others", "the.end"]


async def test_publishing_needs_the_audiences_scope(stack: Stack) -> None:
    token = stack.signer.sign("tests", scope="publish:user", expires_seconds=60)
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(
            f"{stack.publisher.url}/v1/events",
            json={"audience": "all", "type": "a.b", "data": None},
            headers={"Authorization": f"Bearer {token}"},
        )
    assert response.status_code == 403
    assert response.headers["content-type"] == "application/problem+json"
