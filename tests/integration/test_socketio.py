"""Socket.IO over WebSocket: sessions, connections, events and acks, and input that is none.

The client is `websockets`, so that a test sees and says each packet.
`tests/clients/socketio` has the clients that users have.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_gateway.connections import close_codes
from tests.integration.conftest import Start
from tests.integration.pod import SECONDS, Pod, eventually, token
from tests.integration.sockets import CONT, TEXT, connected, frame, opened, request_of

PATH = "/socket.io/?EIO=4&transport=websocket"
HANDLERS = """
from clarion import Handlers, Refusal, propagate

handlers = Handlers()

@handlers.on("echo")
def echo(data, context):
    return [data, context.user]

@handlers.on("photo")
async def photo(data, context):
    await context.send("photo", {"n": 1}, bytes([255]), "end")
    return {"bits": bytes(1)}

@handlers.on_connect
async def check(context):
    if context.auth.get("device") == "stolen":
        raise Refusal("stolen", "this device is locked")
    context.data["auth"] = context.auth

@handlers.on("auth")
def auth(data, context):
    return context.data["auth"]

@handlers.on("connection")
def connection(data, context):
    return context.connection

@handlers.on("chat", propagate(to="all"))
def chat(data, context):
    return data

@handlers.on("refuse")
def refuse(data, context):
    raise Refusal("refused", "not today")
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "socketio_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    return "socketio_handlers:handlers"


@pytest.fixture
async def pod(start: Start, mounted: str) -> AsyncIterator[Pod]:
    async with start(handlers=mounted) as pod:
        yield pod


class Client:
    """A session of Engine.IO on which nothing is answered by itself but pings."""

    def __init__(self, connection: ClientConnection, handshake: dict[str, Any]) -> None:
        self.connection = connection
        self.handshake = handshake
        self.sid = ""

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            await self.connection.send(message)

    async def receive(self) -> str:
        """The next message that is no ping."""
        async with asyncio.timeout(SECONDS):
            while (message := await self.connection.recv()) == "2":
                await self.connection.send("3")
        return message  # type: ignore[return-value]  # bytes only where a test asks for them

    async def event(self) -> list[Any]:
        message = await self.receive()
        assert message.startswith("42"), message
        return list(json.loads(message[2:]))

    async def log_in(self, user: str | None = None, **auth: Any) -> str:
        """Send a CONNECT; returns the id of the connection."""
        if user is not None:
            auth["token"] = token(user)
        await self.send("40" + (json.dumps(auth) if auth else ""))
        message = await self.receive()
        assert message.startswith("40{"), message
        answer = json.loads(message[2:])
        assert list(answer) == ["sid"]
        self.sid = answer["sid"]
        return self.sid

    async def closed(self) -> tuple[int | None, str | None]:
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        return self.connection.close_code, self.connection.close_reason


def address(pod: Pod, query: str = "", path: str = PATH) -> str:
    return f"ws://127.0.0.1:{pod.port}{path}{query}"


@contextlib.asynccontextmanager
async def session(pod: Pod, query: str = "", **options: Any) -> AsyncIterator[Client]:
    """A session without a connection."""
    options = {"compression": None, "ping_interval": None, "close_timeout": 2, **options}
    async with connect(address(pod, query), proxy=None, **options) as connection:
        async with asyncio.timeout(SECONDS):
            message = await connection.recv(decode=True)
        assert message[0] == "0"
        yield Client(connection, json.loads(message[1:]))


@contextlib.asynccontextmanager
async def joined(pod: Pod, user: str | None = None, **auth: Any) -> AsyncIterator[Client]:
    """A session with a connection to the main namespace."""
    async with session(pod) as client:
        await client.log_in(user, **auth)
        yield client


# Sessions


async def test_a_session_begins_with_the_handshake_of_the_protocol(pod: Pod) -> None:
    async with session(pod) as first, session(pod, "&t=abc&mine=1") as second:
        assert set(first.handshake) == {
            "sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"
        }  # fmt: skip
        assert first.handshake["upgrades"] == []
        assert (first.handshake["pingInterval"], first.handshake["pingTimeout"]) == (25_000, 20_000)
        assert first.handshake["maxPayload"] == pod.settings.message_max_bytes
        assert first.handshake["sid"] != second.handshake["sid"]
        assert await first.log_in() != first.handshake["sid"], "the session's id is a secret"
    await pod.counted("clarion_handshakes_total", wire="socketio", outcome="accepted")


@pytest.mark.parametrize("path", ["/socket.io/", "/socket.io"])
async def test_the_path_may_end_with_a_slash(pod: Pod, path: str) -> None:
    url = address(pod, path=f"{path}?EIO=4&transport=websocket")
    async with connect(url, proxy=None) as connection:
        assert (await connection.recv(decode=True)).startswith("0{")


async def test_path_and_prefix_are_settings(start: Start) -> None:
    async with start(socketio_path="/live/io", path_prefix="/rt") as pod:
        url = address(pod, path="/rt/live/io/?EIO=4&transport=websocket")
        async with connect(url, proxy=None) as connection:
            assert (await connection.recv(decode=True)).startswith("0{")
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address(pod), proxy=None):
                pass
        assert refused.value.response.status_code == 404


async def test_without_the_setting_there_is_no_such_path(start: Start) -> None:
    async with start(socketio=False) as pod:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address(pod), proxy=None):
                pass
        assert refused.value.response.status_code == 404
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(pod.url("/socket.io/"))).status_code == 404


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("EIO=3&transport=websocket", 5),
        ("transport=websocket", 5),
        ("EIO=4", 0),
        ("EIO=4&transport=polling", 0),
        ("EIO=4&transport=websocket&sid=unknown", 1),
    ],
)
async def test_requests_of_no_session_are_refused_by_code(pod: Pod, query: str, code: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(address(pod, path=f"/socket.io/?{query}"), proxy=None):
            pass
    response = refused.value.response
    assert response.status_code == 400
    assert json.loads(response.body or b"")["code"] == code
    assert await pod.metric("clarion_handshakes_total", wire="socketio", outcome="malformed") == 1


async def test_pings_come_from_the_gateway_as_often_as_it_says(start: Start) -> None:
    """Within 100 ms on a machine that has time."""
    async with (
        start(socketio_ping_interval_seconds=0.3, socketio_ping_timeout_seconds=0.2) as pod,
        session(pod) as client,
    ):
        await client.log_in()
        for _ in range(4):
            before = time.monotonic()
            async with asyncio.timeout(SECONDS):
                assert await client.connection.recv(decode=True) == "2"
            assert time.monotonic() - before >= 0.2
            await client.send("3")


async def test_a_client_that_answers_no_ping_is_closed(start: Start) -> None:
    async with (
        start(socketio_ping_interval_seconds=0.3, socketio_ping_timeout_seconds=0.2) as pod,
        joined(pod) as client,
    ):
        assert (await client.closed())[0] == 1011
        await pod.counted("clarion_closes_total", reason="keep_alive_timeout")


async def test_a_session_without_a_connect_ends(start: Start) -> None:
    async with start(handshake_seconds=0.5) as pod, session(pod) as client:
        assert pod.gateway.sessions.unconnected == 1
        assert (await client.closed())[0] == 4408
        await pod.counted("clarion_closes_total", reason="no_connect")
        assert pod.gateway.sessions.unconnected == 0


async def test_sessions_without_a_connect_count_as_connections(start: Start) -> None:
    async with start(max_connections=2) as pod, session(pod), session(pod) as second:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address(pod), proxy=None):
                pass
        assert refused.value.response.status_code == 503
        await second.log_in()
        with pytest.raises(InvalidStatus):
            async with opened(pod):
                pass
        await second.connection.close()

        async def has_room() -> bool:
            return len(pod.gateway.sessions.heartbeats) == 1

        await eventually(has_room)
        async with joined(pod):
            pass


async def test_pages_of_other_origins_may_not_connect(start: Start) -> None:
    async with start(allowed_origins=["https://app.example.com"]) as pod:
        async with session(pod, origin="https://app.example.com"):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with session(pod, origin="https://other.example.com"):
                pass
        assert refused.value.response.status_code == 403


# Connections


async def test_the_three_audiences_and_topics_reach_their_clients_once(pod: Pod) -> None:
    async with (
        session(pod) as alice,
        joined(pod, "bob") as bob,
        joined(pod) as guest,
        opened(pod, token=token("alice")) as native,
    ):
        await alice.log_in(token=token("alice", topics=["order.42"]))
        assert alice.sid == pod.gateway.sessions._hub.of_user("alice")[-1].id
        await pod.publish(ALL, "to.all", b'{"n":1}')
        await pod.publish(AUTHENTICATED, "to.users", b"[2]")
        await pod.publish(Audience("user", "alice"), "to.alice", b'"3"')
        await pod.publish(Audience("topic", "order.42"), "to.topic", b"4")
        await pod.publish(ALL, "not.to.bob", b"5", exclude=bob.sid)
        await pod.publish(ALL, "end", b"null")

        async def until_end(client: Client) -> list[Any]:
            events = []
            while (event := await client.event()) != ["end", None]:
                events.append(event)
            return events

        assert await until_end(alice) == [
            ["to.all", {"n": 1}],
            ["to.users", [2]],
            ["to.alice", "3"],
            ["to.topic", 4],
            ["not.to.bob", 5],
        ]
        assert await until_end(bob) == [["to.all", {"n": 1}], ["to.users", [2]]]
        assert await until_end(guest) == [["to.all", {"n": 1}], ["not.to.bob", 5]]
        assert (await native.receive("event"))["type"] == "to.all"
    await pod.counted("clarion_deliveries_total", wire="socketio", audience="topic")


async def test_one_frame_serves_all_sockets_of_a_round(pod: Pod) -> None:
    async with joined(pod), joined(pod), joined(pod, "alice"):
        formats = {each.format for each in pod.gateway.sessions._hub.connections}
    assert len(formats) == 1


async def test_messages_reach_handlers_and_replies_are_acks(pod: Pod) -> None:
    async with joined(pod, "alice") as alice:
        await alice.send('420["echo",{"a":1}]', '421["echo"]', '422["echo",1,"two"]')
        assert await alice.receive() == '430[[{"a":1},"alice"]]'
        assert await alice.receive() == '431[[null,"alice"]]'
        assert await alice.receive() == '432[[[1,"two"],"alice"]]'
        await alice.send('42["echo",1]', '423["connection"]')
        assert await alice.receive() == f'433["{alice.sid}"]', "no ack for the one without an id"


async def test_a_message_is_propagated_to_others(pod: Pod) -> None:
    async with joined(pod, "alice") as alice, joined(pod) as bob:
        await alice.send('427["chat",{"text":"hello"}]')
        assert await alice.receive() == '437[{"text":"hello"}]'
        assert await bob.event() == ["chat", {"text": "hello"}]


async def test_a_refusal_is_an_exception_and_an_ack(pod: Pod) -> None:
    refusal = {"status": "error", "code": "refused", "message": "not today"}
    async with joined(pod) as client:
        await client.send('425["refuse"]')
        assert await client.event() == ["exception", refusal]
        assert json.loads((await client.receive()).removeprefix("435")) == [refusal]
        await client.send('42["refuse"]', '42["nothing"]')
        assert await client.event() == ["exception", refusal]
        name, error = await client.event()
        assert (name, error["code"]) == ("exception", "unknown_type")


async def test_attachments_reach_handlers_as_base64(pod: Pod) -> None:
    async with joined(pod) as client:
        await client.send('451-9["echo",{"file":{"_placeholder":true,"num":0}}]', b"\x00\xff4")
        (reply,) = json.loads((await client.receive()).removeprefix("439"))
        assert base64.b64decode(reply[0]["file"]) == b"\x00\xff4"


async def test_bytes_and_several_arguments_reach_clients_as_such(pod: Pod) -> None:
    async with joined(pod) as client, opened(pod) as native:
        await client.send('425["photo"]')
        text = '451-["photo",{"n":1},{"_placeholder":true,"num":0},"end"]'
        assert [await client.receive() for _ in range(4)] == [
            text, b"\xff", '461-5[{"bits":{"_placeholder":true,"num":0}}]', b"\x00"
        ]  # fmt: skip
        await native.send(kind="message", type="photo", ref=1)
        assert (await native.receive("message"))["data"] == [{"n": 1}, "/w==", "end"]
        assert (await native.receive("reply"))["data"] == {"bits": "AA=="}


async def test_the_application_sees_what_a_client_says_of_itself(pod: Pod) -> None:
    async with session(pod) as client:
        await client.send('40{"device":"stolen"}')
        refused = json.loads((await client.receive()).removeprefix("44"))
        assert (refused["message"], refused["data"]) == (
            "stolen: this device is locked", {"code": "refused"}
        )  # fmt: skip
        await client.log_in("alice", device={"id": 7}, __proto__={"a": 1}, recovery=False)
        await client.send('425["auth"]')
        reply = json.loads((await client.receive()).removeprefix("435"))
        assert reply == [{"device": {"id": 7}, "__proto__": {"a": 1}}], "not the token"
        deep = "[" * 100_000 + "]" * 100_000
        await client.send("41", f'40{{"device":{deep}}}')
        await client.closed()


async def test_a_client_asks_for_topics_and_gives_them_up(pod: Pod) -> None:
    async with session(pod) as client:
        await client.log_in(token=token("alice", subscribe=["order.*"]))
        await client.send('421["$subscribe",["order.42","secret"]]')
        assert json.loads((await client.receive()).removeprefix("431")) == [
            {"topics": ["order.42"], "forbidden": ["secret"]}
        ]
        await pod.publish(Audience("topic", "order.42"), "paid", b"1")
        assert await client.event() == ["paid", 1]
        await client.send('422["$unsubscribe","order.42"]')
        assert json.loads((await client.receive()).removeprefix("432")) == [
            {"topics": ["order.42"]}
        ]
        await pod.publish(Audience("topic", "order.42"), "paid", b"2")
        await pod.publish(ALL, "end", b"3")
        assert await client.event() == ["end", 3]


async def test_messages_behind_a_connect_wait_for_its_answer(pod: Pod) -> None:
    async with session(pod) as client:
        await client.send("40" + json.dumps({"token": token("alice")}), '421["echo",1]')
        assert (await client.receive()).startswith("40{")
        assert await client.receive() == '431[[1,"alice"]]'


async def test_a_bad_token_is_told_and_the_session_goes_on(pod: Pod) -> None:
    async with session(pod) as client:
        for wrong in ("nonsense", token("alice", -5), 12, token("alice", key="x" * 32)):
            await client.send("40" + json.dumps({"token": wrong}))
            message = await client.receive()
            assert message.startswith("44{"), message
            error = json.loads(message[2:])
            assert error["data"] == {"code": "unauthenticated"}
            assert error["message"]
        await client.log_in("alice")
        await client.send('421["echo",1]')
        assert await client.receive() == '431[[1,"alice"]]'
    await pod.counted("clarion_closes_total", 4, reason="unauthenticated")


async def test_a_client_that_is_refused_again_and_again_is_closed(pod: Pod) -> None:
    async with session(pod) as client:
        refused = 0
        with contextlib.suppress(ConnectionClosed):
            while refused < 50:
                await client.send('40{"token":"nonsense"}')
                assert (await client.receive()).startswith("44{")
                refused += 1
        assert refused < 50
        assert (await client.closed())[0] == 4401


async def test_anonymous_clients_are_refused_where_the_setting_says_so(start: Start) -> None:
    async with start(allow_anonymous=False) as pod, session(pod) as client:
        await client.send("40")
        assert (await client.receive()).startswith("44{")
        await client.log_in("alice")


async def test_the_token_may_stand_in_header_or_query(pod: Pod) -> None:
    headers = {"Authorization": f"Bearer {token('alice')}"}
    async with (
        session(pod, additional_headers=headers) as alice,
        session(pod, f"&token={token('bob')}") as bob,
    ):
        for client, user in ((alice, "alice"), (bob, "bob")):
            await client.log_in()
            await client.send('421["echo",1]')
            assert await client.receive() == f'431[[1,"{user}"]]'


async def test_a_client_may_leave_and_come_again_on_the_same_session(pod: Pod) -> None:
    async with session(pod) as client:
        first = await client.log_in("alice")
        await client.send("41")
        second = await client.log_in("bob")
        assert first != second
        await pod.publish(Audience("user", "alice"), "old", b"1")
        await pod.publish(Audience("user", "bob"), "new", b"2")
        assert await client.event() == ["new", 2]
        assert len(pod.gateway.sessions._hub) == 1
        assert pod.gateway.sessions.unconnected == 0


async def test_an_unknown_namespace_is_refused_and_the_rest_stays(pod: Pod) -> None:
    async with joined(pod) as client:
        await client.send('40/random,{"token":"x"}')
        assert await client.receive() == '44/random,{"message":"Invalid namespace"}'
        await client.send('421["echo",1]')
        assert await client.receive() == "431[[1,null]]"


# What the gateway does to its clients


async def test_a_barred_user_is_told_to_stay_away(pod: Pod) -> None:
    async with joined(pod, "alice") as client:
        (connection,) = pod.gateway.sessions._hub.of_user("alice")
        connection.close(close_codes.disconnected("enough", reconnect=False))
        assert await client.receive() == "41"
        assert (await client.closed())[0] == 4403


async def test_expiry_and_drain_close_without_a_word(start: Start) -> None:
    """So that clients come back by themselves, and ask for a fresh token."""
    async with start(token_grace_seconds=0) as pod:
        async with session(pod) as client:
            await client.log_in(token=token("alice", 1.5))
            with pytest.raises(ConnectionClosed):
                await client.receive()
            assert client.connection.close_code == 4401
        async with joined(pod, "bob") as client, session(pod) as idle:
            draining = asyncio.create_task(pod.gateway.drain.run())
            with pytest.raises(ConnectionClosed):
                await client.receive()
            assert client.connection.close_code == 1012
            await idle.send("40")
            assert (await idle.closed())[0] == 1012
            await draining


async def test_a_slow_client_is_closed(start: Start) -> None:
    async with (
        start(max_unsent_bytes=65_536, outbound_max_bytes=1 << 20) as pod,
        session(pod, max_queue=1, max_size=None) as slow,
        joined(pod) as quick,
    ):
        await slow.send("40")
        data = json.dumps("x" * 50_000).encode()

        async def is_closed() -> bool:
            await pod.publish(ALL, "tick", data)
            await quick.event()
            return await pod.metric("clarion_slow_consumers_total") == 1

        await eventually(is_closed)


# Input that is none


@pytest.mark.parametrize(
    "messages",
    [
        ["abc"], [""], ["2"], ["2probe"], ["5"], ["6"], ["0{}"], ["4"], ["4abc"], ["47"],
        ["40["], ["40[]"], ["401"], ["42[]"], ["42{}"], ['42["a"'], ['42["connect"]'],
        ["43[]"], ["43a[]"], ['44{"message":"x"}'], ["41{}"], ["40"], ['42/x,["a"]'], ["41/x"],
        ['42' + "1" * 1_000 + '["a"]'], ["43" + "1" * 1_000 + "[]"], ['4511-["a"]'], ['45["a"]'], [b"bytes"],
        ['451-["a",{"_placeholder":true,"num":1}]', b"x"],
        ['451-["a",{"_placeholder":true,"num":0}]', '42["a"]'],
        ['42["a",' + "[" * 20_000 + "]" * 20_000 + "]"],
        ["40/" + "n" * 5_000],
    ],
    ids=lambda messages: str(messages[0])[:20],
)  # fmt: skip
async def test_what_is_no_packet_ends_the_session_and_no_other(
    pod: Pod, messages: list[str | bytes]
) -> None:
    async with joined(pod) as other, joined(pod) as client:
        await client.send(*messages)
        code, reason = await client.closed()
        assert code == 4400
        assert reason
        assert "expected" in reason.lower() or "json" in reason.lower(), reason
        await other.send('421["echo",1]')
        assert await other.receive() == "431[[1,null]]"
    await pod.counted("clarion_messages_received_total", outcome="malformed")
    assert await pod.metric("clarion_job_failures_total") == 0
    assert pod.gateway.sessions.inbound.used_bytes == 0


@pytest.mark.parametrize("message", ['42["a"]', "41", "430[]"])
async def test_nothing_comes_before_a_connect(pod: Pod, message: str) -> None:
    async with session(pod) as client:
        await client.send(message)
        assert (await client.closed())[0] == 4400


async def test_names_of_javascript_are_data(pod: Pod) -> None:
    async with joined(pod) as client:
        await client.send('421["echo",{"__proto__":{"admin":true},"constructor":1}]')
        assert await client.receive() == (
            '431[[{"__proto__":{"admin":true},"constructor":1},null]]'
        )


@pytest.mark.parametrize("name", ["__proto__", "constructor", "prototype", "toString"])
async def test_names_of_javascript_are_names(pod: Pod, name: str) -> None:
    async with joined(pod, **{name: {"admin": True}}) as client:
        await client.send('421["auth"]')
        assert await client.receive() == f'431[{{"{name}":{{"admin":true}}}}]'
        await client.send(f'422["{name}",1]')
        assert (await client.receive()).startswith('42["exception",')
        assert "unknown_type" in await client.receive()
        await client.send(f"40/{name},")
        assert (await client.receive()).startswith(f"44/{name},")


async def test_namespaces_by_the_thousand_leave_nothing_behind(start: Start) -> None:
    async with start(message_burst=5_000, messages_per_second=5_000) as pod, joined(pod) as client:
        for number in range(1_000):
            await client.send(f"40/n{number},")
        for number in range(1_000):
            assert (await client.receive()).startswith(f"44/n{number},")
        assert len(pod.gateway.sessions._hub) == 1


async def test_attachments_that_never_come_are_counted_and_given_back(pod: Pod) -> None:
    sessions = pod.gateway.sessions
    async with joined(pod) as client:
        await client.send('452-["a",{"_placeholder":true,"num":0}]', bytes(5_000))

        async def is_held() -> bool:
            return sessions.inbound.used_bytes >= 5_000

        await eventually(is_held)
    await pod.counted("clarion_closes_total")

    async def is_free() -> bool:
        return sessions.inbound.used_bytes == 0

    await eventually(is_free)


async def test_attachments_count_towards_the_largest_message(start: Start) -> None:
    async with start(message_max_bytes=1_000) as pod, joined(pod) as client:
        await client.send('452-["a",{"_placeholder":true,"num":0}]', bytes(600), bytes(600))
        assert (await client.closed())[0] == 4400
    async with start(message_max_bytes=1_000) as pod, joined(pod) as client:
        await client.send('42["a","' + "x" * 1_000 + '"]')
        assert (await client.closed())[0] == 4413


async def test_text_that_is_no_utf8_ends_the_session(pod: Pod) -> None:
    async with joined(pod) as client:
        await client.connection.send(b'42["a","\xff"]', text=True)
        assert (await client.closed())[0] == 1007


@pytest.mark.parametrize("message", ["3", '42["echo"]', "40/x,", b"x"])
async def test_too_many_messages_of_any_kind_end_the_session(start: Start, message: Any) -> None:
    async with start(message_burst=10, messages_per_second=0.1) as pod, joined(pod) as client:
        if message == b"x":
            await client.send('4510-["a"]')
        with contextlib.suppress(ConnectionClosed):
            for _ in range(50):
                await client.send(message)
        assert (await client.closed())[0] == 4429


async def test_leaving_and_coming_again_gives_no_new_budget(start: Start) -> None:
    async with start(message_burst=10, messages_per_second=0.1) as pod, session(pod) as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(50):
                await client.send("40", "41")
        assert (await client.closed())[0] == 4429


async def test_a_session_may_be_split_anywhere(pod: Pod) -> None:
    """One byte of TCP at a time, and messages in fragments."""
    async with connected(pod) as raw:
        for byte in request_of(PATH):
            await raw.send(bytes([byte]))
        assert (await raw.response()).status == 101
        assert (await raw.frame())[1].startswith(b"0{")
        packets = frame(TEXT, b"40") + b"".join(
            [
                frame(TEXT, b'421["ec', fin=False),
                frame(CONT, b'ho",[1', fin=False),
                frame(CONT, b"]]"),
            ]
        )
        for byte in packets:
            await raw.send(bytes([byte]))
        assert (await raw.frame())[1].startswith(b"40{")
        assert (await raw.frame())[1] == b"431[[[1],null]]"
