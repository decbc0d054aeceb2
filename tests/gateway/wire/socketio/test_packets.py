"""`clarion_gateway.wire.socketio.packets`: round trips, the bounds, and texts that are no packets."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio.packets import (
    ATTACHMENTS_MAX,
    RESERVED,
    Packet,
    PacketType,
    decode,
    encode,
)
from tests.gateway.json_values import VALUES

RAWS = VALUES.map(lambda value: msgspec.Raw(json.dumps(value).encode()))
NAMESPACES = st.just("/") | st.from_regex(r"/[a-z/?=&0-9-]{1,40}", fullmatch=True)
IDS = st.integers(0, 10**16 - 1).map(lambda id_: b"%d" % id_)
NAMES = st.text().filter(lambda name: name not in RESERVED)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    type_ = draw(st.sampled_from(PacketType))
    namespace = draw(NAMESPACES)
    attachments = 0
    if type_ in {PacketType.BINARY_EVENT, PacketType.BINARY_ACK}:
        attachments = draw(st.integers(0, ATTACHMENTS_MAX))
    arguments = draw(st.lists(RAWS, max_size=3))
    match type_:
        case PacketType.CONNECT:
            fields = draw(st.none() | st.dictionaries(st.text(), RAWS, max_size=3))
            return Packet(type_, namespace, fields=fields)
        case PacketType.DISCONNECT:
            return Packet(type_, namespace)
        case PacketType.CONNECT_ERROR:
            return Packet(type_, namespace, fields={"message": raw(draw(st.text()))})
        case PacketType.ACK | PacketType.BINARY_ACK:
            return Packet(type_, namespace, draw(IDS), None, arguments, attachments)
        case _:
            name = raw(draw(NAMES | st.integers()))
            id_ = draw(st.just(b"") | IDS)
            return Packet(type_, namespace, id_, None, [name, *arguments], attachments)


@given(packets())
def test_a_packet_is_decoded_as_it_was_encoded(packet: Packet) -> None:
    decoded = decode(encode(packet))
    assert encode(decoded) == encode(packet)
    assert (decoded.type, decoded.namespace, decoded.id, decoded.attachments) == (
        packet.type,
        packet.namespace,
        packet.id,
        packet.attachments,
    )
    assert [json.loads(bytes(each)) for each in decoded.arguments] == [
        json.loads(bytes(each)) for each in packet.arguments
    ]


@given(st.binary() | st.text().map(str.encode) | st.from_regex(rb"[0-6][0-9/a,\[\]{}\"-]*"))
def test_no_bytes_break_the_decoder(text: bytes) -> None:
    try:
        text.decode()
        packet = decode(text)
    except (Malformed, UnicodeDecodeError):
        return
    assert decode(encode(packet)).type is packet.type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "digit from 0 to 6"),
        (b"7", "digit from 0 to 6"),
        (b"abc", "digit from 0 to 6"),
        (b"0[]", "Expected `object`"),
        (b'0"text"', "Expected `object`"),
        (b"0{", "valid JSON: .* truncated"),
        (b"01{}", "an ack id in events and acks only"),
        (b"1{}", "without a payload"),
        (b"2", "truncated"),
        (b"2{}", "Expected `array`"),
        (b"2[]", "an event's name"),
        (b"2[null]", "Expected"),
        (b'2[{"name":1}]', "Expected"),
        (b'2["a"', "truncated"),
        (b'2["a"]]', "trailing characters"),
        (b'2x["a"]', "malformed"),
        (b'2-1["a"]', "Expected `array`"),
        (b'2/nowhere["a"]', "truncated"),
        (b"3[]", "an ACK with an id"),
        (b"31{}", "Expected `array`"),
        (b"4", "truncated"),
        (b"4[]", "Expected `object`"),
        (b'5["a"]', "the number of attachments"),
        (b'5-["a"]', "the number of attachments"),
        (b'511-["a"]', "at most 10"),
        (b'5100-["a"]', "at most 10"),
        (b"2" + b"1" * 17 + b'["a"]', "at most 16 digits"),
        (b"2" + b"1" * 1_000 + b'["a"]', "at most 16 digits"),
        (b"0/" + b"n" * 128 + b",", "at most 128 bytes"),
        (rb'2["\ud83d"]', "lone surrogates"),
        (b'2["a",' + b"[" * 30_000 + b"]" * 30_000 + b"]", "JSON"),
    ],
)
def test_what_is_no_packet_is_refused_with_what_was_expected(text: bytes, expected: str) -> None:
    with pytest.raises(Malformed, match=expected):
        decode(text)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(Malformed, match=f"{name} is reserved"):
        decode(b"2" + json.dumps([name]).encode())
    assert decode(b"31" + json.dumps([name]).encode()).arguments, "an ack has no name"


def test_names_of_javascript_are_data() -> None:
    packet = decode(b'2["__proto__",{"__proto__":{"constructor":1}},"toString"]')
    assert packet.name == "__proto__"
    assert [bytes(each) for each in packet.arguments[1:]] == [
        b'{"__proto__":{"constructor":1}}',
        b'"toString"',
    ]
    connect = decode(b'0{"__proto__":{"token":"x"},"hasOwnProperty":1}')
    assert connect.fields is not None
    assert set(connect.fields) == {"__proto__", "hasOwnProperty"}


def test_a_namespace_may_come_without_a_comma_if_nothing_follows() -> None:
    assert decode(b"0/random").namespace == "/random"
    assert decode(b"1/a,").namespace == "/a"
    assert decode(b'2/a,7["x"]').id == b"7"


def test_a_number_may_be_the_name_of_an_event() -> None:
    assert decode(b"2[12]").name == "12"
