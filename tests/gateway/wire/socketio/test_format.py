"""`clarion_gateway.wire.socketio.format`: what clients are sent, and their events as messages."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from clarion_contract.events.event import TYPE_PATTERN, Event
from clarion_gateway.application.codec import parts_of
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import TopicsHeard, Welcome
from clarion_gateway.wire.messages import (
    Answer,
    ClientMessage,
    Malformed,
    Message,
    Subscribe,
    Unsubscribe,
)
from clarion_gateway.wire.parts import Parts
from clarion_gateway.wire.socketio.assembly import Assembly
from clarion_gateway.wire.socketio.format import (
    SOCKETIO,
    SocketIoFormat,
    answer_of,
    invalid_namespace,
)
from clarion_gateway.wire.socketio.packets import RESERVED, decode
from tests.gateway.json_values import written
from tests.gateway.recorder import AUDIENCES, event, frames_of

ADMIN = SocketIoFormat("admin", frames.text, "/admin")


def told(data: bytes) -> list[str]:
    return [bytes(frame.data).decode() for frame in frames_of(data)]


def parts(text: str) -> tuple[str, Any]:
    """What stands before the JSON of a message, and the JSON."""
    start = min(index for index in (text.find("["), text.find("{")) if index >= 0)
    return text[:start], json.loads(text[start:])


@given(st.from_regex(TYPE_PATTERN, fullmatch=True), written())
def test_an_event_is_its_type_and_its_data(type_: str, document: tuple[object, bytes]) -> None:
    value, data = document
    if type_ in RESERVED:
        return
    (text,) = told(SOCKETIO.event(event(1, AUDIENCES[0], type_=type_, data=data)))
    assert parts(text) == ("42", [type_, value])
    assert data in text.encode(), "the producer's bytes are not touched"
    (text,) = told(ADMIN.event(event(1, AUDIENCES[0], type_=type_, data=data)))
    assert parts(text) == ("42/admin,", [type_, value])


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        (b"[1,[2]]", [1, [2]]),
        (b"[]", []),
        (b"null", []),
        (b'{"n":1}', [{"n": 1}]),  # marked by nobody
    ],
)
def test_the_arguments_of_a_producer_stay_apart(data: bytes, arguments: list[object]) -> None:
    said = Event(1, 0, AUDIENCES[0], "said", data, arguments=True)
    ((_, fields),) = [parts(text) for text in told(SOCKETIO.event(said))]
    assert fields == ["said", *arguments]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_an_event_with_a_reserved_name_gets_another_one(name: str) -> None:
    """Clients close on an event of such a name."""
    (text,) = told(SOCKETIO.event(event(1, type_=name)))
    assert parts(text) == ("42", [f"${name}", {}])


def test_the_other_messages_are_packets_of_socketio() -> None:
    welcome = Welcome("c-1", "alice", "pod-1", 5, None, 60, 25)
    refused = {"status": "error", "code": "closed", "message": 'the "room" is closed'}
    assert [parts(text) for text in told(SOCKETIO.welcome(welcome))] == [("40", {"sid": "c-1"})]
    assert [parts(text) for text in told(ADMIN.welcome(welcome))] == [("40/admin,", {"sid": "c-1"})]
    assert told(SOCKETIO.reply(b"12", b'{"a":1}')) == ['4312[{"a":1}]']
    assert SOCKETIO.reply(b"", b"1") == b"", "nobody waits for it"
    assert [parts(text) for text in told(SOCKETIO.error(b"7", "closed", refused["message"]))] == [
        ("42", ["exception", refused]),
        ("437", [refused]),
    ]
    assert len(told(SOCKETIO.error(b"", "closed", "no"))) == 1
    assert [parts(text) for text in told(SOCKETIO.gap(17))] == [("42", ["$gap", {"id": "17"}])]
    assert [parts(text) for text in told(SOCKETIO.refused("revoked", "come back"))] == [
        ("44", {"message": "come back", "data": {"code": "revoked"}})
    ]
    assert told(SOCKETIO.disconnect) == ["41"]
    assert told(ADMIN.disconnect) == ["41/admin,"]
    assert SOCKETIO.reconnect(100, "draining") == SOCKETIO.closing("draining", "") == b""


def test_an_unknown_namespace_is_refused_in_the_words_of_the_protocol() -> None:
    assert invalid_namespace("/random") == b'44/random,{"message":"Invalid namespace"}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'2["chat",{"a":1}]', Message("chat", b'{"a":1}', b"")),
        (b'2["chat"]', Message("chat", b"null", b"")),
        (b'212["chat",[1,2]]', Message("chat", b"[1,2]", b"12")),
        (b'20["chat",1, "two" ]', Message("chat", b'[1,"two"]', b"0")),
        (b'21["$subscribe","a.b"]', Subscribe(("a.b",), b"1")),
        (b'2["$subscribe",["a","b"]]', Subscribe(("a", "b"), b"")),
        (b'22["$unsubscribe","a","b"]', Unsubscribe(("a", "b"), b"2")),
    ],
)
def test_an_event_of_a_client_is_a_message(text: bytes, message: ClientMessage) -> None:
    assert SOCKETIO.decode(text) == message


@pytest.mark.parametrize("argument", [b"", b",1", b",[1]", b",{}", b',"a",1'])
def test_a_client_that_asks_for_topics_must_name_them(argument: bytes) -> None:
    for name in (b"$subscribe", b"$unsubscribe"):
        with pytest.raises(Malformed, match="the name of a topic"):
            SOCKETIO.decode(b'2["%b"%b]' % (name, argument))


def test_a_handler_sends_an_event_and_asks_for_an_ack() -> None:
    assert told(SOCKETIO.message("news", b"[1]")) == ['42["news",[1]]']
    assert told(SOCKETIO.message("disconnect", b"1")) == ['42["$disconnect",1]']
    assert told(SOCKETIO.ask(b"5", "sure", b"{}")) == ['425["sure",{}]']
    for text, data in ((b"35[]", b"null"), (b"35[1]", b"1"), (b"35[1,2]", b"[1,2]")):
        assert answer_of(decode(text)) == Answer(b"5", data)


def test_several_arguments_and_bytes_keep_their_places() -> None:
    placeholder = b'{"_placeholder":true,"num":0}'
    several = Parts(b'1,"two"')
    assert told(SOCKETIO.message("news", b"", several)) == ['42["news",1,"two"]']
    assert told(SOCKETIO.ask(b"5", "sure", b"", several)) == ['425["sure",1,"two"]']
    attached = Parts(placeholder, (b"\xff",))
    for format_, place in ((SOCKETIO, ""), (ADMIN, "/admin,")):
        for message, text in (
            (format_.message("news", b"", attached), f'451-{place}["news",%b]'),
            (format_.message("connect", b"", attached), f'451-{place}["$connect",%b]'),
            (format_.ask(b"5", "sure", b"", attached), f'451-{place}5["sure",%b]'),
            (format_.reply(b"5", b"", attached), f"461-{place}5[%b]"),
        ):
            first, second = frames_of(message)
            assert (first.opcode, bytes(first.data)) == (Opcode.TEXT, text.encode() % placeholder)
            assert (second.opcode, bytes(second.data)) == (Opcode.BINARY, b"\xff")
    assert SOCKETIO.reply(b"", b"", attached) == b"", "nobody waits for it"


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=10))
def test_what_is_sent_with_bytes_can_be_joined_again(values: list[bytes]) -> None:
    parts = parts_of([{"values": values}, "end"])
    text, *attachments = frames_of(SOCKETIO.message("news", b"", parts))
    assembly = Assembly(max_bytes=10_000)
    packet = assembly.text(bytes(text.data)[1:])
    for attachment in attachments:
        assert packet is None
        packet = assembly.binary(bytes(attachment.data))
    assert packet is not None
    encoded = [base64.b64encode(value).decode() for value in values]
    assert [json.loads(bytes(each)) for each in packet.arguments] == [
        "news",
        {"values": encoded},
        "end",
    ]


def test_topics_are_told_by_the_ack() -> None:
    heard = TopicsHeard(["a"], forbidden=["b"])
    assert told(SOCKETIO.subscribed(b"1", 7, heard)) == ['431[{"topics":["a"],"forbidden":["b"]}]']
    assert told(SOCKETIO.unsubscribed(b"2", ["a"], [])) == ['432[{"topics":["a"]}]']
    assert told(SOCKETIO.unsubscribed(b"2", [], ["b"])) == ['432[{"topics":[],"kept":["b"]}]']
    assert SOCKETIO.subscribed(b"", 7, heard) == b""


def test_nothing_but_an_event_is_a_message() -> None:
    for text in (b"0{}", b"1", b"31[]", b'51-["a"]'):
        with pytest.raises(Malformed, match="expected an event"):
            SOCKETIO.decode(text)
