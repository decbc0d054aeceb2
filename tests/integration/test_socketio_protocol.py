"""The cases of the public test suites of Engine.IO 4 and Socket.IO 5, and our tests of each.

The Socket.IO project publishes both suites beside its protocol documents. They need a server that
echoes, so they cannot run against a gateway. The tests here and those below say the same with
packets of our own. In the files, P is `test_socketio_polling.py`, W `test_socketio.py` and N
`test_socketio_namespaces.py`.

| Engine.IO 4 | our test |
|---|---|
| polling: opens a session | P `test_a_session_opens_with_the_packet_of_the_protocol` |
| polling: no EIO or transport, or a wrong one; POST and PUT first | P `test_bad_requests_get_the_code_of_the_protocol` |
| WebSocket: opens a session | W `test_a_session_begins_with_the_handshake_of_the_protocol` |
| WebSocket: no EIO or transport, or a wrong one | W `test_requests_of_no_session_are_refused_by_code` |
| polling: one text packet, several, text and binary | P `test_one_post_brings_several_packets_even_behind_a_connect`, `test_binary_messages_are_base64` |
| polling: an invalid packet ends the session | P `test_a_body_that_is_none_ends_the_session` |
| polling: two polls at once | P `test_two_polls_at_once_end_the_session` |
| polling: a poll that is cancelled | P `test_a_poll_that_breaks_ends_the_session_at_once` |
| WebSocket: text, binary | W `test_messages_reach_handlers_and_replies_are_acks`, `test_attachments_reach_handlers_as_base64` |
| WebSocket: an invalid packet ends the session | W `test_what_is_no_packet_ends_the_session_and_no_other` |
| polling: ping and pong | P `test_pings_come_as_answers_and_a_silent_client_is_closed` |
| polling: a client that falls silent | `test_a_session_that_fell_silent_is_unknown_once_both_times_have_passed` |
| WebSocket: ping and pong, a client that falls silent | W `test_pings_come_from_the_gateway_as_often_as_it_says`, `test_a_client_that_answers_no_ping_is_closed` |
| polling: the client closes | P `test_a_client_that_leaves_is_answered_and_forgotten` |
| WebSocket: the client closes | `test_a_client_closes_its_websocket_by_a_packet` |
| upgrade; HTTP with the same sid afterwards | P `test_a_session_moves_to_a_websocket` |
| a WebSocket with the same sid afterwards | P `test_a_second_websocket_is_closed_and_harms_nothing` |

| Socket.IO 5 | our test |
|---|---|
| CONNECT to the main namespace, with and without a payload | `test_the_answers_to_connect`, W `test_the_application_sees_what_a_client_says_of_itself` |
| CONNECT to another one, with and without a payload | `test_the_answers_to_connect`, N `test_each_namespace_has_a_connection_and_handlers_of_its_own` |
| CONNECT to an unknown one | `test_the_answers_to_connect` |
| no CONNECT, but something else | W `test_nothing_comes_before_a_connect` |
| no CONNECT in time | W `test_a_session_without_a_connect_ends` |
| DISCONNECT from the main namespace: pings go on | `test_pings_go_on_without_a_namespace` |
| DISCONNECT from another one: the main one goes on | N `test_who_leaves_a_namespace_keeps_the_others_and_may_come_again` |
| events with text and with attachments | W `test_messages_reach_handlers_and_replies_are_acks`, `test_bytes_and_several_arguments_reach_clients_as_such` |
| acks with text and with attachments | `test_acks_have_the_id_that_was_asked_with` |

Where the suites expect an event ``auth`` or an echo, that is their server's application.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Start
from tests.integration.poller import keyed, polling
from tests.integration.test_socketio import session

HANDLERS = """
from clarion import Handlers

handlers = Handlers()
custom = handlers.namespace("/custom")

@handlers.on("bytes")
def give(data, context):
    return {"first": bytes([1, 2]), "second": bytes([3])}
"""
TIMES = {"socketio_ping_interval_seconds": 0.3, "socketio_ping_timeout_seconds": 0.2}


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "protocol_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    return "protocol_handlers:handlers"


def test_every_test_in_the_tables_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", __doc__ or ""))
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_socketio*.py")]
    found = {name for text in texts for name in re.findall(r"def (test_\w+)\(", text)}
    assert named
    assert named - found == set()


async def test_a_session_that_fell_silent_is_unknown_once_both_times_have_passed(
    start: Start,
) -> None:
    async with start(**TIMES) as pod:
        await keyed(pod)
        async with polling(pod) as poller:
            await pod.counted("clarion_closes_total", reason="keep_alive_timeout")
            answer = await poller.get()
            assert (answer.status_code, answer.json()["code"]) == (400, 1)


async def test_a_client_closes_its_websocket_by_a_packet(start: Start) -> None:
    async with start() as pod, session(pod) as client:
        await client.send("1")
        await client.closed()


@pytest.mark.parametrize("payload", ["", '{"token":null,"a":1}'])
async def test_the_answers_to_connect(start: Start, mounted: str, payload: str) -> None:
    async with start(handlers=mounted) as pod, session(pod) as client:
        await client.send("40" + payload, "40/custom," + payload, "40/random")
        answers = sorted([await client.receive() for _ in range(3)])
        assert answers[2] == '44/random,{"message":"Invalid namespace"}'
        sids: list[Any] = []
        for text, place in zip(answers, ("40/custom,", "40"), strict=False):
            fields = json.loads(text.removeprefix(place))
            assert set(fields) == {"sid"}
            sids.append(fields["sid"])
        assert len(set(sids)) == 2


async def test_pings_go_on_without_a_namespace(start: Start) -> None:
    async with start(socketio_ping_interval_seconds=0.3) as pod, session(pod) as client:
        await client.log_in()
        await client.send("41")
        async with asyncio.timeout(30):
            assert await client.connection.recv() == "2"


async def test_acks_have_the_id_that_was_asked_with(start: Start, mounted: str) -> None:
    async with start(handlers=mounted) as pod, session(pod) as client:
        await client.log_in()
        await client.send('42456["nobody",1]')
        answers = [await client.receive() for _ in range(2)]
        assert [text for text in answers if text.startswith("43456[")]
        await client.send('42789["bytes"]')
        text = await client.receive()
        assert text.startswith("462-789[")
        assert [await client.connection.recv() for _ in range(2)] == [bytes([1, 2]), bytes([3])]
