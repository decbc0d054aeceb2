"""Handlers in another process: signed requests, answers, and backends that fail in every way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from clarion_contract.events.audience import topic_audience
from tests.integration.pod import Pod, eventually, settings_of, started, token
from tests.integration.sockets import Client, dialled, opened
from tests.integration.test_handlers_live import MOUNTED
from tests.integration.upstream import SECRET, Upstream, backend, hang, says
from tests.valkey import Valkey


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with backend() as running:
        yield running


def settings(upstream: Upstream, **overrides: Any) -> dict[str, Any]:
    return {"upstream_url": upstream.url, "upstream_secret": SECRET, **overrides}


@pytest.fixture
async def pod(shared_valkey: Valkey, namespace: str, upstream: Upstream) -> AsyncIterator[Pod]:
    async with started(shared_valkey.url, namespace, **settings(upstream)) as running:
        yield running


def status(code: int, text: str = "", **headers: str) -> Callable[..., Any]:
    async def respond(_: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return respond


async def told(client: Client, count: int) -> dict[str, list[Any]]:
    """The data of the next messages, by their kind: events and replies overtake each other."""
    found: dict[str, list[Any]] = {}
    for _ in range(count):
        message = await client.receive()
        found.setdefault(message["kind"], []).append(message["data"])
    return found


class TestRequests:
    async def test_a_message_is_a_signed_cloudevent(self, pod: Pod, upstream: Upstream) -> None:
        async with opened(pod, token=token("alice")) as client:
            answer = await client.ask("chat.message", {"text": "hi \u2028"})
            assert answer["kind"] == "reply"
            assert answer["data"] == {"text": "hi \u2028"}
            connection = client.welcome["connection"]
        (event,), (headers,) = upstream.events, upstream.headers
        assert (
            event.items()
            >= {
                "specversion": "1.0",
                "type": "clarion.message",
                "source": "/clarion/gateway/pod-test",
                "clariontype": "chat.message",
                "clarionconnection": connection,
                "clarionuser": "alice",
                "datacontenttype": "application/json",
                "data": {"text": "hi \u2028"},
            }.items()
        )
        assert headers["content-type"] == "application/cloudevents+json"
        assert headers["webhook-id"] == event["id"]
        signed = f"{event['id']}.{headers['webhook-timestamp']}.".encode() + upstream.bodies[0]
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"

    async def test_an_anonymous_sender_has_no_user(self, pod: Pod, upstream: Upstream) -> None:
        async with opened(pod) as client:
            await client.ask("x", 1)
        assert "clarionuser" not in upstream.events[0]

    async def test_the_messages_of_a_client_come_in_order(
        self, pod: Pod, upstream: Upstream
    ) -> None:
        async with opened(pod) as client:
            for number in range(20):
                await client.send(kind="message", type="n", ref=number, data=number)
            replies = [await client.receive("reply") for _ in range(20)]
        assert [each["ref"] for each in replies] == list(range(20))
        assert [each["data"] for each in upstream.events] == list(range(20))

    async def test_handlers_of_the_gateway_go_first(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> None:
        mounted = settings(upstream, upstream_types=("other",), **MOUNTED)
        async with started(shared_valkey.url, namespace, **mounted) as pod, opened(pod) as client:
            assert (await client.ask("echo", 1))["data"] == 1
            assert upstream.bodies == []
            assert (await client.ask("other", 2))["data"] == 2
            assert (await client.ask("unlisted", 3))["code"] == "unknown_type"
        assert len(upstream.bodies) == 1


class TestAnswers:
    async def test_events_are_published_before_the_reply(
        self, pod: Pod, upstream: Upstream
    ) -> None:
        async with opened(pod, token=token("alice")) as alice, opened(pod) as other:
            upstream.answer = says(
                reply={"ok": True},
                publish=[
                    {"audience": "all", "type": "news", "data": 1},
                    {"audience": {"user": "alice"}, "type": "mine", "data": 2},
                ],
            )
            await alice.send(kind="message", type="x", ref=1)
            assert await told(other, 1) == {"event": [1]}
            assert await told(alice, 3) == {"reply": [{"ok": True}], "event": [1, 2]}

    async def test_the_sender_may_be_left_out(self, pod: Pod, upstream: Upstream) -> None:
        async def answer(event: dict[str, Any]) -> web.StreamResponse:
            sender = event["clarionconnection"]
            news = {"audience": "all", "type": "news", "data": 1, "exclude": sender}
            end = {"audience": "all", "type": "end", "data": 2}
            return web.json_response({"publish": [news, end]})

        upstream.answer = answer
        async with opened(pod) as client:
            await client.send(kind="message", type="x", ref=1)
            assert await told(client, 2) == {"reply": [None], "event": [2]}

    async def test_a_refusal(self, pod: Pod, upstream: Upstream) -> None:
        upstream.answer = says(
            refuse={"code": "closed", "message": "the room is closed"},
            publish=[{"audience": "all", "type": "never"}],
        )
        async with opened(pod) as client:
            error = await client.ask("x")
            assert (error["kind"], error["code"], error["message"]) == (
                "error",
                "closed",
                "the room is closed",
            )

    async def test_no_content_is_a_reply_of_null(self, pod: Pod, upstream: Upstream) -> None:
        upstream.answer = status(204)
        async with opened(pod) as client:
            answer = await client.ask("x")
            assert (answer["kind"], answer["data"]) == ("reply", None)

    async def test_what_is_not_declared_is_not_published(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream, tmp_path: Path
    ) -> None:
        (tmp_path / "news.json").write_text('{"type": "string"}')
        declared = settings(upstream, catalogue=tmp_path, undeclared="refuse")
        async with started(shared_valkey.url, namespace, **declared) as pod, opened(pod) as client:
            for event in ({"type": "news", "data": 1}, {"type": "other"}):
                upstream.answer = says(publish=[{"audience": "all", **event}])
                assert (await client.ask("x"))["code"] == "internal"
            upstream.answer = says(publish=[{"audience": "all", "type": "news", "data": "a"}])
            await client.send(kind="message", type="x", ref=1)
            assert await told(client, 2) == {"reply": [None], "event": ["a"]}

    async def test_the_sender_begins_and_ceases_to_hear_topics(
        self, pod: Pod, upstream: Upstream
    ) -> None:
        async with opened(pod) as client:
            hello = {"audience": {"topic": "room.1"}, "type": "hello", "data": 1}
            upstream.answer = says(subscribe=["room.1"], publish=[hello])
            await client.send(kind="message", type="join", ref=1)
            first = [await client.receive() for _ in range(3)]
            assert {each["kind"] for each in first} == {"subscribed", "event", "reply"}
            upstream.answer = says(unsubscribe=["room.1"], publish=[hello])
            assert (await client.ask("leave"))["kind"] == "unsubscribed"
            assert (await client.receive())["kind"] == "reply"
            upstream.answer = None
            assert (await client.ask("ping"))["kind"] == "reply"

    async def test_more_topics_than_a_connection_may_hear(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> None:
        upstream.answer = says(subscribe=["room.1", "room.2"])
        few = settings(upstream, max_topics_per_connection=1)
        async with started(shared_valkey.url, namespace, **few) as pod, opened(pod) as client:
            assert (await client.ask("join"))["code"] == "too_many_topics"


class TestTopics:
    @pytest.fixture
    async def deciding(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> AsyncIterator[Pod]:
        asked = settings(
            upstream,
            upstream_hooks=("subscribe",),
            upstream_topics=("room.*", "order.**"),
            upstream_retries=0,
        )
        async with started(shared_valkey.url, namespace, **asked) as running:
            yield running

    async def test_the_backend_decides_about_topics(
        self, deciding: Pod, upstream: Upstream
    ) -> None:
        async def answer(event: dict[str, Any]) -> web.StreamResponse:
            closed = {"refuse": {"code": "closed", "message": "come tomorrow"}}
            answers = {"room.yes": {"reply": True}, "room.no": {"reply": False}}
            return web.json_response({**answers, "room.closed": closed}[event["data"]["topic"]])

        upstream.answer = answer
        async with opened(deciding, token=token("alice")) as alice:
            topics = ["room.yes", "room.no", "room.closed", "elsewhere"]
            await alice.send(kind="subscribe", ref=1, topics=topics)
            told = await alice.receive("subscribed")
            assert told["topics"] == ["room.yes"]
            assert told["forbidden"] == ["room.no", "elsewhere"]
            (refused,) = told["refused"]
            assert (refused["topic"], refused["code"]) == ("room.closed", "closed")
            await deciding.publish(topic_audience("room.yes"))
            await alice.events(1)
            connection = alice.id
        assert {each["data"]["topic"] for each in upstream.events} == {
            "room.yes",
            "room.no",
            "room.closed",
        }
        for event in upstream.events:
            assert event["type"] == "clarion.subscribe"
            assert (event["clarionuser"], event["clarionconnection"]) == ("alice", connection)

    async def test_topics_in_the_query_are_asked_about(
        self, deciding: Pod, upstream: Upstream
    ) -> None:
        upstream.answer = says(reply=True)
        async with opened(deciding, topic="room.1") as client:
            assert client.welcome["topics"] == ["room.1"]

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (says(), None),
            (status(204), None),
            (says(reply={"ok": True}), "internal"),
            (status(404), "internal"),
            (status(200, "<html>"), "internal"),
            (status(503), "unavailable"),
        ],
    )
    async def test_without_a_clear_yes_a_topic_stays_closed(
        self, deciding: Pod, upstream: Upstream, answer: Any, code: str | None
    ) -> None:
        upstream.answer = answer
        async with opened(deciding) as client:
            await client.send(kind="subscribe", ref=1, topics=["room.1"])
            told = await client.receive("subscribed")
            assert told["topics"] == []
            if code is None:
                assert told["forbidden"] == ["room.1"]
            else:
                assert [each["code"] for each in told["refused"]] == [code]

    def test_patterns_are_checked_at_the_start(self) -> None:
        with pytest.raises(ValueError, match="pattern"):
            settings_of("redis://localhost", "x", upstream_topics=("room..1",))


class TestHooks:
    @pytest.fixture
    async def hooked(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> AsyncIterator[Pod]:
        both = settings(upstream, upstream_hooks=("connect", "disconnect"), upstream_retries=0)
        async with started(shared_valkey.url, namespace, **both) as running:
            yield running

    async def test_the_backend_learns_of_connections(self, hooked: Pod, upstream: Upstream) -> None:
        async with opened(hooked, token=token("alice", role="admin")) as client:
            connection = client.id

        async def ended() -> bool:
            return len(upstream.bodies) == 2

        await eventually(ended, what="the disconnect")
        connect, disconnect = upstream.events
        assert (connect["type"], disconnect["type"]) == ("clarion.connect", "clarion.disconnect")
        assert connect["data"]["claims"]["role"] == "admin"
        assert disconnect["data"] == {"reason": "normal", "code": 1000}
        for event in (connect, disconnect):
            assert (event["clarionuser"], event["clarionconnection"]) == ("alice", connection)
            assert "clariontype" not in event

    async def test_the_backend_may_keep_a_client_out(self, hooked: Pod, upstream: Upstream) -> None:
        upstream.answer = says(refuse={"code": "banned", "message": "not you"})
        async with dialled(hooked) as connection:
            await asyncio.wait_for(connection.wait_closed(), 30)
            assert connection.close_reason == "banned: not you"
        assert len(upstream.bodies) == 1

    @pytest.mark.parametrize("code", [503, 404])
    async def test_without_an_answer_nobody_comes_in(
        self, hooked: Pod, upstream: Upstream, code: int
    ) -> None:
        upstream.answer = status(code)
        async with dialled(hooked) as connection:
            await asyncio.wait_for(connection.wait_closed(), 30)
            assert connection.close_code == (1013 if code == 503 else 1011)


class TestFailures:
    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            (status(200, "<html>hello</html>"), "invalid_answer"),
            (status(200, '{"reply": '), "invalid_answer"),
            (status(200, '{"audience": "all"}'), "invalid_answer"),
            (status(200, json.dumps({"reply": "x" * 2_000_000})), "invalid_answer"),
            (status(302, location="http://127.0.0.1:1/"), "status"),
            (status(400), "status"),
            (status(404), "status"),
        ],
    )
    async def test_an_answer_that_is_none_is_not_asked_for_again(
        self, pod: Pod, upstream: Upstream, answer: Any, outcome: str
    ) -> None:
        upstream.answer = answer
        async with opened(pod) as client:
            error = await client.ask("x")
        assert (error["code"], error["message"]) == ("internal", "the handler failed")
        assert len(upstream.bodies) == 1
        assert await pod.metric("clarion_upstream_calls_total", outcome=outcome) == 1

    @pytest.mark.parametrize("code", [429, 500, 503])
    async def test_a_backend_that_cannot_now_is_asked_again_with_the_same_id(
        self, pod: Pod, upstream: Upstream, code: int
    ) -> None:
        async def answer(_: dict[str, Any]) -> web.StreamResponse:
            if len(upstream.bodies) < 3:
                return web.Response(status=code)
            return web.json_response({"reply": "at last"})

        upstream.answer = answer
        async with opened(pod) as client:
            assert (await client.ask("x"))["data"] == "at last"
        assert len({each["webhook-id"] for each in upstream.headers}) == 1
        assert len(set(upstream.bodies)) == 1
        assert await pod.metric("clarion_upstream_retries_total") == 2

    async def test_a_backend_that_stays_away(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> None:
        nowhere = settings(upstream, upstream_url="http://127.0.0.1:1/", upstream_retries=1)
        async with started(shared_valkey.url, namespace, **nowhere) as pod, opened(pod) as client:
            assert (await client.ask("x"))["code"] == "unavailable"
            assert await pod.metric("clarion_upstream_calls_total", outcome="unreachable") == 1
            assert await pod.metric("clarion_messages_received_total", outcome="unavailable") == 1

    async def test_a_backend_that_hangs_costs_only_its_callers(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> None:
        upstream.answer = hang
        hanging = settings(
            upstream, upstream_seconds=0.2, upstream_retries=0, upstream_concurrency=2, **MOUNTED
        )
        async with started(shared_valkey.url, namespace, **hanging) as pod:
            async with opened(pod) as waiting, opened(pod) as other:
                await waiting.send(kind="message", type="slow", ref=1)
                assert (await other.ask("echo", 1))["data"] == 1
                assert (await waiting.receive("error"))["code"] == "unavailable"
            assert await pod.metric("clarion_upstream_calls_total", outcome="timeout") == 1
            assert await pod.metric("clarion_upstream_under_way") == 0

    async def test_after_many_failures_nobody_waits_until_it_is_back(
        self, shared_valkey: Valkey, namespace: str, upstream: Upstream
    ) -> None:
        upstream.answer = status(503)
        failing = settings(upstream, upstream_retries=0, upstream_circuit_failures=3)
        async with started(shared_valkey.url, namespace, **failing) as pod, opened(pod) as client:
            for _ in range(4):
                assert (await client.ask("x"))["code"] == "unavailable"
            assert len(upstream.bodies) == 3
            assert await pod.metric("clarion_upstream_circuit_open") == 1
            assert await pod.metric("clarion_upstream_calls_total", outcome="circuit_open") == 1
            upstream.answer = None

            async def is_back() -> bool:
                await asyncio.sleep(0.1)
                answer = await client.ask("x", "back")
                return answer["kind"] == "reply" and answer["data"] == "back"

            await eventually(is_back)
            assert await pod.metric("clarion_upstream_circuit_open") == 0

    async def test_a_connection_that_the_backend_closed_is_replaced(
        self, pod: Pod, upstream: Upstream
    ) -> None:
        async def answer(_: dict[str, Any]) -> web.StreamResponse:
            response = web.json_response({"reply": 1})
            response.force_close()
            return response

        upstream.answer = answer
        async with opened(pod) as client:
            for _ in range(3):
                assert (await client.ask("x"))["data"] == 1

    async def test_the_secret_reaches_no_log_and_no_answer(
        self, pod: Pod, upstream: Upstream, capfd: pytest.CaptureFixture[str]
    ) -> None:
        upstream.answer = status(500)
        async with opened(pod) as client:
            answer = await client.ask("x")
        settings_shown = (await pod.internal.get("/settings")).text
        said = capfd.readouterr()
        for text in (said.out, said.err, settings_shown, json.dumps(answer)):
            assert SECRET not in text
            assert SECRET.removeprefix("whsec_") not in text
