"""`clarion_gateway.wire.engineio.packets`: round trips, and texts that are no packets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.wire.engineio.packets import Handshake, Packet, PacketType, decode, encode
from clarion_gateway.wire.messages import Malformed

TEXTS = st.text().map(str.encode)


@given(st.sampled_from(PacketType), TEXTS)
def test_a_packet_is_decoded_as_it_was_encoded(type_: PacketType, data: bytes) -> None:
    packet = Packet(type_, data)
    assert encode(packet) == b"%d" % type_ + data
    assert decode(encode(packet)) == packet


@given(st.binary())
def test_a_binary_packet_is_its_data(data: bytes) -> None:
    assert encode(Packet(PacketType.MESSAGE, data, binary=True)) == data


@given(st.binary())
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    try:
        packet = decode(data)
    except Malformed:
        assert data[:1] not in {b"%d" % type_ for type_ in PacketType}
    else:
        assert encode(packet) == data


@pytest.mark.parametrize("text", [b"", b"7", b"abc", b"/", b":", b"-1", "٣".encode()])
def test_what_begins_with_no_type_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="digit from 0 to 6"):
        decode(text)


def test_the_handshake_has_the_fields_of_the_protocol_in_whole_milliseconds() -> None:
    encoded = Handshake("secret", ("websocket",), 0.3, 20, 65_536).encode()
    assert encoded[:1] == b"0"
    handshake = json.loads(encoded[1:])
    assert handshake == {
        "sid": "secret",
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 20_000,
        "maxPayload": 65_536,
    }
    assert b"." not in encoded, "some clients read integers only"
