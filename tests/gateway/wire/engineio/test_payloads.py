"""Payloads of long polling: round trips, and bodies that are none."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio import packets, payloads
from clarion_gateway.wire.engineio.packets import Packet, PacketType
from clarion_gateway.wire.messages import Malformed

texts = st.builds(
    Packet,
    st.sampled_from(PacketType),
    st.text(st.characters(codec="utf-8", exclude_characters="\x1e")).map(str.encode),
)
binaries = st.builds(Packet, st.just(PacketType.MESSAGE), st.binary(), st.just(True))


def in_a_body(packet: Packet) -> bytes:
    return b"b" + base64.b64encode(packet.data) if packet.binary else packets.encode(packet)


@given(st.lists(texts | binaries, min_size=1))
def test_packets_come_out_as_they_went_in(sent: list[Packet]) -> None:
    assert list(payloads.decode(b"\x1e".join(map(in_a_body, sent)))) == sent


@given(st.lists(st.lists(texts, min_size=1), min_size=1))
def test_buffers_of_frames_become_one_body(rounds: list[list[Packet]]) -> None:
    """As rounds write them: some frames in each buffer."""
    buffers = [b"".join(frames.text(packets.encode(each)) for each in sent) for sent in rounds]
    decoded = list(payloads.decode(payloads.encode(buffers)))
    assert decoded == [packet for sent in rounds for packet in sent]


@pytest.mark.parametrize("length", [0, 1, 124, 125, 126, 65_534, 65_535, 65_536, 200_000])
def test_frames_of_every_length_are_read(length: int) -> None:
    text = b"4" + b"x" * length
    assert payloads.encode([frames.text(text) * 2]) == text + b"\x1e" + text


def test_a_binary_frame_becomes_base64() -> None:
    assert payloads.encode([b"\x82\x02\x00\xff", frames.text(b"3")]) == b"bAP8=\x1e3"


@given(st.binary(max_size=200))
def test_no_body_raises_anything_else(body: bytes) -> None:
    try:
        list(payloads.decode(body))
    except Malformed as malformed:
        assert "expected" in str(malformed)


def test_packets_before_the_one_that_is_none_are_given() -> None:
    decoded = payloads.decode(b"3\x1e4a\x1e\x1e3")
    assert next(decoded).type is PacketType.PONG
    assert next(decoded).data == b"a"
    with pytest.raises(Malformed):
        next(decoded)


def test_base64_may_begin_with_a_digit() -> None:
    assert next(payloads.decode(b"b4444")) == Packet(PacketType.MESSAGE, b"\xe3\x8e\x38", True)


def test_base64_may_have_lines() -> None:
    data = bytes(range(200))
    body = b"b" + base64.encodebytes(data) + b"\x1e3"
    assert [*payloads.decode(body)] == [
        Packet(PacketType.MESSAGE, data, True),
        Packet(PacketType.PONG, b"", False),
    ]
