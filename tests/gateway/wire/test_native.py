"""`clarion_gateway.wire.native`: clients can read every message, and no message from a client
breaks it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Opcode

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import TYPE_PATTERN
from clarion_contract.events.topic_members import TopicMembers
from clarion_gateway.wire import native
from clarion_gateway.wire.format import PresenceTold, TopicsHeard, Welcome
from clarion_gateway.wire.messages import (
    Answer,
    Authenticate,
    Malformed,
    Message,
    Subscribe,
    Unsubscribe,
)
from clarion_gateway.wire.native import DEFLATED, PLAIN, NativeFormat
from tests.gateway.json_values import VALUES, written
from tests.gateway.recorder import AUDIENCES, event, frames_of, messages_of

IDS = st.integers(1, 4_102_444_800_000_000)  # until the year 2100
decode = PLAIN.decode
REFS = st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=8)


def said(**message: Any) -> bytes:
    return json.dumps(message).encode()


@given(IDS, st.sampled_from(AUDIENCES), st.from_regex(TYPE_PATTERN, fullmatch=True), written())
@example(1, AUDIENCES[0], "a", ("\u2028\n\x00", rb'"\u2028\n\u0000"'))
def test_an_event_reaches_the_client_as_the_producer_wrote_it(
    id_: int, audience: Audience, type_: str, document: tuple[object, bytes]
) -> None:
    value, data = document
    for wire_format in (PLAIN, DEFLATED):
        (message,) = messages_of(
            wire_format.event(event(id_, audience, type_=type_, data=data)),
            deflate=wire_format is DEFLATED,
        )
        time = message.pop("time")
        assert message == {
            "kind": "event",
            "id": str(id_),
            "audience": audience.kind,
            "type": type_,
            "data": value,
        }
        assert datetime.fromisoformat(time) == datetime.fromtimestamp(0, UTC) + timedelta(
            microseconds=id_
        )


@given(IDS, written())
def test_a_past_event_stands_in_the_answer_as_it_would_have_come(
    id_: int, document: tuple[object, bytes]
) -> None:
    past = event(id_, Audience("topic", "a"), data=document[1])
    (live,) = messages_of(PLAIN.event(past))
    (answer,) = messages_of(PLAIN.subscribed(b"1", id_, TopicsHeard(["a"]), [past]))
    assert answer["events"] == [live]


@given(written())
def test_the_producers_bytes_are_not_touched(document: tuple[object, bytes]) -> None:
    (frame,) = frames_of(PLAIN.event(event(1, data=document[1])))
    assert bytes(frame.data).endswith(b'"data":' + document[1] + b"}")


@given(st.text(), st.text() | st.none(), st.booleans() | st.none(), st.integers(0, 10**9), IDS)
def test_every_message_has_its_kind_first_and_its_documented_fields(
    text: str, user: str | None, resumed: bool | None, seconds: int, id_: int
) -> None:
    welcome = Welcome("c-1", user, "pod-1", id_, resumed, seconds, 25)
    expected: list[tuple[bytes, dict[str, Any]]] = [
        (
            PLAIN.welcome(welcome),
            {
                "kind": "welcome",
                "connection": "c-1",
                "user": user,
                "pod": "pod-1",
                "id": str(id_),
                "resumed": resumed,
                "expires_in": seconds,
                "ping_interval": 25,
            },
        ),
        (
            PLAIN.error(b"7", "invalid", text),
            {"kind": "error", "ref": 7, "code": "invalid", "message": text},
        ),
        (
            PLAIN.error(None, "malformed", text),
            {"kind": "error", "ref": None, "code": "malformed", "message": text},
        ),
        (PLAIN.visible_ping, {"kind": "ping"}),
        (PLAIN.gap(id_), {"kind": "gap", "id": str(id_)}),
        (
            PLAIN.identity(b'"a"', user, None),
            {"kind": "identity", "ref": "a", "user": user, "expires_in": None},
        ),
        (
            PLAIN.subscribed(b"4", id_, TopicsHeard(["a", "b"])),
            {"kind": "subscribed", "ref": 4, "id": str(id_), "topics": ["a", "b"]},
        ),
        (
            PLAIN.subscribed(b"4", id_, TopicsHeard([], ["c"])),
            {"kind": "subscribed", "ref": 4, "id": str(id_), "topics": [], "forbidden": ["c"]},
        ),
        (
            PLAIN.subscribed(b"4", id_, TopicsHeard(["a"], (), ["a"]), []),
            {
                "kind": "subscribed",
                "ref": 4,
                "id": str(id_),
                "topics": ["a"],
                "not_resumed": ["a"],
                "events": [],
            },
        ),
        (
            PLAIN.unsubscribed(b"null", ["a"], []),
            {"kind": "unsubscribed", "ref": None, "topics": ["a"]},
        ),
        (
            PLAIN.unsubscribed(b"null", ["a"], ["b"]),
            {"kind": "unsubscribed", "ref": None, "topics": ["a"], "kept": ["b"]},
        ),
        (
            PLAIN.presence(PresenceTold.everything("a", TopicMembers(3, 1, (user or "",)))),
            {
                "kind": "presence",
                "topic": "a",
                "users": 1,
                "connections": 3,
                "members": [user or ""],
            },
        ),
        (
            PLAIN.reconnect(seconds, "draining"),
            {"kind": "reconnect", "after_ms": seconds, "reason": "draining"},
        ),
    ]
    for data, message in expected:
        (frame,) = frames_of(data)
        assert json.loads(bytes(frame.data)) == message
        assert bytes(frame.data).startswith(b'{"kind":')


@pytest.mark.parametrize("wire_format", [PLAIN, DEFLATED])
def test_a_ping_is_for_the_library_and_for_the_program(wire_format: NativeFormat) -> None:
    """Pages do not see a WebSocket's own pings, and libraries answer nothing else."""
    first, second = frames_of(wire_format.ping, deflate=wire_format is DEFLATED)
    assert (first.opcode, bytes(first.data)) == (Opcode.PING, b"")
    assert json.loads(bytes(second.data)) == {"kind": "ping"}


@given(st.text(), VALUES, REFS)
def test_a_message_is_decoded_without_a_look_into_its_data(
    type_: str, data: object, ref: object
) -> None:
    message = {"kind": "message", "type": type_, "data": data, "ref": ref}
    decoded = decode(json.dumps(message, ensure_ascii=False).encode())
    assert isinstance(decoded, Message)
    assert decoded.type == type_
    assert json.loads(decoded.data) == data
    assert json.loads(decoded.ref) == ref


@given(VALUES, REFS)
def test_a_reply_carries_ref_and_data_as_they_came(data: object, ref: object) -> None:
    (message,) = messages_of(
        PLAIN.reply(json.dumps(ref).encode(), json.dumps(data).encode()),
    )
    assert message == {"kind": "reply", "ref": ref, "data": data}


def test_ref_and_data_may_be_left_out() -> None:
    assert decode(b'{"kind":"message","type":"a"}') == Message("a", b"null", b"null")
    assert decode(b'{"kind":"auth","token":null}') == Authenticate(None, b"null")
    assert decode(b'{"kind":"subscribe","topics":[]}') == Subscribe((), b"null")


def test_subscriptions_name_topics() -> None:
    assert decode(said(kind="subscribe", ref=1, topics=["a", "*"])) == Subscribe(("a", "*"), b"1")
    assert decode(said(kind="unsubscribe", ref="x", topics=["a"])) == Unsubscribe(("a",), b'"x"')
    past = decode(said(kind="subscribe", topics=["a"], last=3, since="17"))
    assert past == Subscribe(("a",), b"null", 3, "17")
    for topics in ("a", {"a": 1}, [1], None):
        for kind in ("subscribe", "unsubscribe"):
            with pytest.raises(Malformed, match=r"at `\$\.topics"):
                decode(said(kind=kind, topics=topics))


@given(st.text())
def test_arbitrary_text_is_at_most_malformed(text: str) -> None:
    try:
        decode(text.encode())
    except Malformed:
        pass


@given(st.data())
def test_damaged_messages_never_make_a_reply_that_is_not_json(data: st.DataObject) -> None:
    """`ref` is spliced into the reply without being parsed: whatever decodes must be JSON."""
    message = bytearray(
        said(
            kind="message",
            type="a",
            ref=data.draw(REFS | st.floats(allow_nan=False)),
            data=data.draw(VALUES),
        )
    )
    for _ in range(data.draw(st.integers(0, 3))):
        position = data.draw(st.integers(0, len(message) - 1))
        piece = data.draw(
            st.sampled_from([b"", b'"', b"\\", b"}", b"]", b",", b"\x00", b"\n", b"e"])
        )
        message[position : position + data.draw(st.integers(0, 2))] = piece
    try:
        decoded = decode(bytes(message))
    except Malformed:
        return
    assert isinstance(decoded, Message)
    (reply,) = messages_of(PLAIN.reply(decoded.ref, decoded.data))
    assert set(reply) == {"kind", "ref", "data"}
    messages_of(PLAIN.error(decoded.ref, "invalid", ""))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "truncated"),
        (b"hello", "malformed"),
        (b"[]", "`object`"),
        (b"{}", "kind"),
        (said(kind="nonsense"), "nonsense"),
        (said(kind=1), "kind"),
        (said(kind="message"), "type"),
        (said(kind="message", type=1), "`str`"),
        (said(kind="message", type="a", extra=1), "extra"),
        (said(kind="message", type="a", ref={}), "$.ref"),
        (said(kind="message", type="a", ref=[1]), "$.ref"),
        (said(kind="message", type="a", ref="x" * 64), "64 bytes"),
        (said(kind="auth"), "token"),
        (said(kind="auth", token=1), "token"),
        (b'{"kind":"message","type":"a"} {}', "trailing"),
        (b'{"kind":"message","type":"a","data":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "nested"),
        (b"[" * 60_000, "nested|object"),
    ],
)
def test_what_is_malformed_is_told_in_words(message: bytes, expected: str) -> None:
    with pytest.raises(Malformed) as raised:
        decode(message)
    assert any(word in str(raised.value) for word in expected.split("|")), str(raised.value)


def test_the_wires_have_names_of_their_own() -> None:
    """They are metric labels and keys of the hub's groups."""
    assert (PLAIN.name, DEFLATED.name) == ("websocket", "websocket-deflate")
    assert native.SUBPROTOCOL == "clarion.v1"


@given(st.from_regex(TYPE_PATTERN, fullmatch=True), written())
def test_messages_and_questions_of_the_application_reach_the_client_as_they_are(
    type_: str, document: tuple[object, bytes]
) -> None:
    value, data = document
    for wire_format in (PLAIN, DEFLATED):
        deflate = wire_format is DEFLATED
        (message,) = messages_of(wire_format.message(type_, data), deflate=deflate)
        assert message == {"kind": "message", "type": type_, "data": value}
        (question,) = messages_of(wire_format.ask(b"7", type_, data), deflate=deflate)
        assert question == {"kind": "ask", "ref": 7, "type": type_, "data": value}


def test_an_answer_has_the_questions_ref() -> None:
    assert decode(said(kind="answer", ref=7, data={"a": 1})) == Answer(b"7", b'{"a": 1}')
    assert decode(said(kind="answer", ref=7)) == Answer(b"7", b"null")
    refused = said(kind="answer", ref=7, error={"code": "unknown_type", "message": "no"})
    assert decode(refused) == Answer(b"7", b"null", "unknown_type: no")
    assert decode(said(kind="answer", ref=7, error={"code": "c"})) == Answer(b"7", b"null", "c: ")


@pytest.mark.parametrize(
    "fields", [{}, {"ref": [1]}, {"ref": 7, "error": "no"}, {"ref": 7, "more": 1}]
)
def test_a_malformed_answer_says_what_was_expected(fields: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode(said(kind="answer", **fields))
