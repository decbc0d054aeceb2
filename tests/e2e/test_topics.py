"""Topics over two gateways: each client gets exactly those of its token, live and on resume."""

from __future__ import annotations

import asyncio

import httpx
from websockets.asyncio.client import connect

from tests.e2e.client import SECONDS, Socket, opened, streamed
from tests.e2e.stack import Stack

# Every character that a name may have.
TOPIC = "order.42/a#b=~:@+_-Z"


async def topics_until(socket: Socket, end: str) -> list[str]:
    """The topics of the events before the last, which is for all."""
    *events, last = await socket.events_until(end)
    assert all(event["audience"] == "topic" for event in events)
    assert "topic" not in last
    return [event["topic"] for event in events]


async def test_a_connection_gets_the_topics_of_its_token_live_and_when_it_resumes(
    stack: Stack,
) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    both = stack.token("alice", topics=[TOPIC, "news"])
    async with (
        opened(first, both) as alice,
        opened(second, stack.token("bob", topics=["news"])) as bob,
        opened(second, stack.token("carol")) as carol,
        streamed(second, both) as stream,
    ):
        assert (await stream.receive())["event"] == "$welcome"
        events = [
            {"audience": {"topic": topic}, "type": "t", "data": topic} for topic in (TOPIC, "news")
        ]
        # Several topics in one request, none of which keeps another back.
        results = await stack.publish_batch([*events, {**events[0], "audience": {"topic": "*"}}])
        assert [result["status"] for result in results] == [201, 201, 422]
        assert results[2]["problem"]["errors"][0]["pointer"] == "/audience/topic"
        await stack.publish({"topic": "nobody.follows"}, "t")
        await stack.publish("all", "the.end")
        assert await topics_until(alice, "the.end") == [TOPIC, "news"]
        assert await topics_until(bob, "the.end") == ["news"]
        assert await topics_until(carol, "the.end") == []
        heard = await stream.events_until("the.end")
        assert [event["data"] for event in heard] == [TOPIC, "news", None]
        async with opened(second, both, since=alice.welcome["id"]) as again:
            assert again.welcome["resumed"] is True
            assert await topics_until(again, "the.end") == [TOPIC, "news"]


async def test_the_next_token_decides_anew(stack: Stack) -> None:
    async with opened(stack.gateways[0].url, stack.token("alice", topics=["a", "b"])) as alice:
        for ref, topics in enumerate((["b", "c"], [], ["a"])):
            await alice.send(kind="auth", ref=ref, token=stack.token("alice", topics=topics))
            assert (await alice.receive())["kind"] == "identity"
            for topic in "abc":
                await stack.publish({"topic": topic}, "t")
            await stack.publish("all", "the.end")
            assert await topics_until(alice, "the.end") == topics


async def test_a_client_asks_for_topics_in_the_query_of_either_transport(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("alice", topics=["news"], subscribe=["order.*"])
    wanted = {"topic": ["order.42", "order.7", "secret"]}
    async with opened(first, token, **wanted) as alice, streamed(second, token, **wanted) as stream:
        heard = {"topics": ["news", "order.42", "order.7"], "forbidden": ["secret"]}
        assert heard.items() <= alice.welcome.items()
        assert heard.items() <= (await stream.receive())["data"].items()
        for topic in ("order.7", "order.8", "news", "secret", "order.42"):
            await stack.publish({"topic": topic}, "t", topic)
        await stack.publish("all", "the.end")
        assert await topics_until(alice, "the.end") == ["order.7", "news", "order.42"]
        events = await stream.events_until("the.end")
        assert [event["data"] for event in events] == ["order.7", "news", "order.42", None]
        since = alice.welcome["id"]
        async with opened(second, token, since=since, topic=["order.7"]) as again:
            assert again.welcome["resumed"] is True
            assert again.welcome["topics"] == ["news", "order.7"]
            assert await topics_until(again, "the.end") == ["order.7", "news"]


async def test_an_open_connection_subscribes_and_unsubscribes(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("alice", topics=["news"], subscribe=["order.*"])
    async with opened(first, token) as alice:
        await alice.send(kind="subscribe", ref=1, topics=[TOPIC, "order.7", "secret", "news"])
        answer = await alice.receive()
        heard = {"ref": 1, "topics": [TOPIC, "order.7", "news"], "forbidden": ["secret"]}
        assert {"kind": "subscribed", **heard}.items() <= answer.items()
        for topic in (TOPIC, "order.8", "order.7", "news"):
            await stack.publish({"topic": topic}, "t")
        await stack.publish("all", "half.time")
        assert await topics_until(alice, "half.time") == [TOPIC, "order.7", "news"]
        await alice.send(kind="unsubscribe", ref=2, topics=["order.7", "news"])
        kept = {"kind": "unsubscribed", "ref": 2, "topics": ["order.7"], "kept": ["news"]}
        assert await alice.receive() == kept
        for topic in ("order.7", "news"):
            await stack.publish({"topic": topic}, "t")
        await stack.publish("all", "the.end")
        assert await topics_until(alice, "the.end") == ["news"]
        # The position of the answer is one that the client may resume from.
        query = {"since": answer["id"], "topic": ["order.7"]}
        async with opened(second, token, **query) as again:
            assert again.welcome["resumed"] is True
            assert await topics_until(again, "half.time") == ["order.7", "news"]
            assert await topics_until(again, "the.end") == ["order.7", "news"]


async def test_the_past_of_a_topic_stands_in_the_answer(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("alice", subscribe=["**"])
    ids = [await stack.publish({"topic": "room.1"}, "said", number) for number in range(5)]
    async with opened(first, token) as alice, opened(second, token) as other:
        for socket in (alice, other, alice):
            await socket.send(kind="subscribe", ref=1, topics=["room.1", "room.2"], last=3)
            answer = await socket.receive()
            assert answer["topics"] == ["room.1", "room.2"]
            assert [event["data"] for event in answer["events"]] == [2, 3, 4]
        await alice.send(kind="subscribe", ref=2, topics=["room.1"], since=ids[0])
        assert [event["id"] for event in (await alice.receive())["events"]] == ids[1:]
        for past, code in (
            ({"last": 1_000_000}, "invalid_last"),
            ({"since": "x"}, "invalid_since"),
        ):
            await alice.send(kind="subscribe", ref=3, topics=["room.3"], **past)
            error = await alice.receive()
            assert (error["kind"], error["ref"], error["code"]) == ("error", 3, code)
        future = str(int(answer["id"]) + 3_600_000_000)
        await alice.send(kind="subscribe", ref=4, topics=["room.1"], since=future)
        assert (await alice.receive())["not_resumed"] == ["room.1"]
        await stack.publish({"topic": "room.1"}, "said", 5)
        for socket in (alice, other):
            assert (await socket.receive())["data"] == 5


async def test_topics_are_subscribed_to_while_events_go_on(stack: Stack) -> None:
    """Each event that is published after the answer comes, once and in order."""
    url, token = stack.gateways[0].url, stack.token("alice", subscribe=["**"])
    async with opened(url, token) as alice:
        for number in range(20):
            topic = f"busy.{number}"
            await alice.send(kind="subscribe", ref=number, topics=[topic])
            while (await alice.receive())["kind"] != "subscribed":
                pass
            events = [
                {"audience": {"topic": f"busy.{each}"}, "type": "t", "data": None}
                for each in range(number + 1)
            ]
            await stack.publish_batch(events)
            heard = [(await alice.receive())["topic"] for _ in events]
            assert heard == [f"busy.{each}" for each in range(number + 1)]


async def test_a_service_gives_topics_to_a_users_connections_on_all_gateways(
    stack: Stack,
) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("tina", topics=["news"])
    path = "/v1/users/tina/topics"
    async with opened(first, token) as tina, streamed(second, token) as stream:
        assert (await stream.receive())["event"] == "$welcome"
        assert await stack.order(path, {"add": ["order.42", "order.7"]}) == 2
        begun = await tina.receive()
        assert (begun["kind"], begun["ref"]) == ("subscribed", None)
        assert begun["topics"] == ["order.42", "order.7"]
        heard = await stream.receive()
        assert (heard["event"], heard["data"]["topics"]) == ("$subscribed", begun["topics"])
        assert heard["id"].isdecimal()
        assert await stack.order(path, {"remove": ["order.7", "news"]}) == 2
        ended = {"topics": ["order.7"], "kept": ["news"]}
        assert ended.items() <= (await tina.receive()).items()
        heard = await stream.receive()
        assert (heard["event"], heard["data"]) == ("$unsubscribed", ended)
        for topic in ("order.42", "order.7", "news"):
            await stack.publish({"topic": topic}, "t", topic)
        await stack.publish("all", "the.end")
        assert await topics_until(tina, "the.end") == ["order.42", "news"]
        events = await stream.events_until("the.end")
        assert [event["data"] for event in events] == ["order.42", "news", None]


async def test_what_is_no_topic_is_refused(stack: Stack) -> None:
    url = stack.gateways[0].url
    async with connect(f"{url.replace('http', 'ws', 1)}/ws?topic=order.*", proxy=None) as socket:
        await asyncio.wait_for(socket.wait_closed(), SECONDS)
        assert socket.close_code == 4400
        assert socket.close_reason is not None
        assert socket.close_reason.startswith("expected a topic of 1 to 128 characters")
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{url}/sse?topic=order.42&topic=")
        assert response.status_code == 400
        assert "expected a topic of" in response.text


async def test_a_client_that_begins_with_a_state_misses_nothing(stack: Stack) -> None:
    """The position is read before the state; what is published meanwhile comes by resume."""
    await stack.publish({"topic": "doc.1"}, "before")
    position = (await stack.read("/v1/position"))["id"]
    await stack.publish({"topic": "doc.1"}, "meanwhile")
    token = stack.token("alice", subscribe=["doc.*"])
    async with opened(stack.gateways[1].url, token, since=position, topic=["doc.1"]) as alice:
        assert alice.welcome["resumed"] is True
        await stack.publish("all", "the.end")
        events = await alice.events_until("the.end")
    assert [event["type"] for event in events] == ["meanwhile", "the.end"]
