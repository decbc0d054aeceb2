"""`clarion_gateway.wire.socketio.assembly`: attachments come to their places, or the reason why not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio.assembly import Assembly

MAX_BYTES = 10_000


def placeholder(index: object) -> dict[str, object]:
    return {"_placeholder": True, "num": index}


def text(attachments: int, *arguments: Any) -> bytes:
    return b"5%d-" % attachments + json.dumps(["name", *arguments]).encode()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=10), st.data())
def test_attachments_come_to_their_places(attachments: list[bytes], data: st.DataObject) -> None:
    """In any order and nesting. Nothing is whole before the last one has come."""
    order = data.draw(st.permutations(range(len(attachments))))
    assembly = Assembly(MAX_BYTES)
    value = {"deep": [placeholder(index) for index in order], "other": None}
    assert assembly.text(text(len(attachments), value, "last")) is None
    for attachment in attachments[:-1]:
        assert assembly.binary(attachment) is None
        assert assembly.held_bytes > 0
    packet = assembly.binary(attachments[-1])
    assert packet is not None
    assert assembly.held_bytes == 0
    _, first, last = (json.loads(bytes(each)) for each in packet.arguments)
    assert [base64.b64decode(each) for each in first["deep"]] == [
        attachments[index] for index in order
    ]
    assert (first["other"], last) == (None, "last")
    assert assembly.text(b'2["next"]') is not None


def test_a_packet_may_announce_no_attachment() -> None:
    assert Assembly(MAX_BYTES).text(b'50-["name"]') is not None


def test_arguments_without_placeholders_keep_their_bytes() -> None:
    assembly = Assembly(MAX_BYTES)
    assembly.text(b'51-["name",1.50,{"_placeholder":true,"num":0}]')
    packet = assembly.binary(b"x")
    assert packet is not None
    assert bytes(packet.arguments[1]) == b"1.50"


@pytest.mark.parametrize("index", [1, -1, 1.0, True, "0", None, 10**20])
def test_a_placeholder_of_no_attachment_is_refused(index: object) -> None:
    assembly = Assembly(MAX_BYTES)
    assembly.text(text(1, placeholder(index)))
    with pytest.raises(Malformed, match="placeholders"):
        assembly.binary(b"x")


def test_without_attachments_a_placeholder_is_data() -> None:
    packet = Assembly(MAX_BYTES).text(b'2["name",{"_placeholder":true,"num":7}]')
    assert packet is not None
    assert bytes(packet.arguments[1]) == b'{"_placeholder":true,"num":7}'


def test_text_is_refused_while_attachments_are_due_and_bytes_while_none_is() -> None:
    assembly = Assembly(MAX_BYTES)
    with pytest.raises(Malformed, match="no attachment is due"):
        assembly.binary(b"x")
    assembly.text(text(1, placeholder(0)))
    with pytest.raises(Malformed, match="attachments are due"):
        assembly.text(b'2["name"]')


def test_attachments_count_towards_the_size_of_a_message() -> None:
    assembly = Assembly(1_000)
    assembly.text(text(2, placeholder(0), placeholder(1)))
    assert assembly.binary(bytes(500)) is None
    with pytest.raises(Malformed, match="at most 1000 bytes"):
        assembly.binary(bytes(500))


def test_what_is_not_whole_can_be_dropped() -> None:
    assembly = Assembly(MAX_BYTES)
    assembly.text(text(1, placeholder(0)))
    assembly.drop()
    assert assembly.held_bytes == 0
    assert assembly.text(b'2["name"]') is not None
