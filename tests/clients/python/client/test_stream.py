"""The bytes of an event stream, in whatever pieces they come."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.client.connection import End
from clarion.client.messages import NotAGateway
from clarion.client.stream import StreamReader

STREAM = """\
id: 10
event: $welcome
data: {"connection":"c","user":null,"pod":"g","resumed":null}

:

event: $ping
data: {}

id: 1795494197579196
event: chat.message
data: {"text":
data: "hü\u2028"}

id: 1795494197579197
event: order.updated
topic: order.42
data: 1

event: note
data: [1]

retry: 3207
event: $error
data: {"code":"draining","message":"draining, reconnect"}

""".encode()
MESSAGES = [
    {"kind": "welcome", "id": "10", "connection": "c", "user": None, "pod": "g", "resumed": None},
    {"kind": "ping", "id": ""},
    {"kind": "event", "id": "1795494197579196", "type": "chat.message", "time": "2026-11-24T04:23:17.579196Z", "data": {"text": "hü\u2028"}},
    {"kind": "event", "id": "1795494197579197", "type": "order.updated", "time": "2026-11-24T04:23:17.579197Z", "audience": "topic", "topic": "order.42", "data": 1},
    {"kind": "message", "type": "note", "data": [1]},
]  # fmt: skip


@given(st.lists(st.integers(0, len(STREAM))), st.booleans())
def test_messages_are_as_on_a_websocket(cuts: list[int], carriage_returns: bool) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[begin:end] for begin, end in pairwise(places)]
    reader = StreamReader()
    texts = []
    for piece in pieces:
        data = piece.replace(b"\n", b"\r\n") if carriage_returns else piece
        texts += reader.feed(data)
    assert [json.loads(text) for text in texts] == MESSAGES
    assert reader.end == End("draining", "draining, reconnect", 3.207)


def test_a_stream_that_breaks_off_was_lost() -> None:
    reader = StreamReader()
    assert list(reader.feed(b"id: 1\nevent: a\ndata: 1")) == []
    assert reader.end == End(0, "connection lost")


@pytest.mark.parametrize(
    "block",
    [
        b"event: $welcome\ndata: x\n\n",
        b"event: $welcome\ndata: []\n\n",
        b"event: a\nid: x\ndata: 1\n\n",
        b"event: a\nid: 99999999999999999999999\ndata: 1\n\n",
    ],
)
def test_what_no_gateway_writes(block: bytes) -> None:
    with pytest.raises(NotAGateway):
        list(StreamReader().feed(block))
