"""Frames are counted correctly, however a stream is cut. Every figure depends on it."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_bench.frames import (
    DeflatedCounter,
    Frame,
    FrameCounter,
    FrameParser,
    Opcode,
    UnexpectedFrameError,
    encode_client,
)

TALK = [
    Frame(Opcode.PING, b""),
    Frame(Opcode.PING, b"\x81\x7e\x00\xba"),  # random bytes that look like an event's header
    Frame(Opcode.TEXT, b"2"),
    Frame(Opcode.CLOSE, b"\x03\xf4"),
]


def event(size: int) -> Frame:
    return Frame(Opcode.TEXT, b"x" * size)


def encode_server(frame: Frame) -> bytes:
    payload = frame.payload
    if frame.deflated:
        deflate = zlib.compressobj(wbits=-12)
        payload = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = payload.removesuffix(b"\x00\x00\xff\xff")
    size = len(payload)
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes((0x80 | frame.opcode | frame.deflated << 6,)) + length + payload


def deflated_event(size: int) -> Frame:
    """An event whose frame has less than 126 bytes for some sizes, and more for others."""
    data = "".join(f"{number * number}," for number in range(size))
    return Frame(Opcode.TEXT, data.encode(), deflated=True)


frames = st.lists(
    st.one_of(
        st.integers(126, 300).map(event),
        st.integers(1, 40).map(lambda count: [event(200)] * count),
        st.sampled_from(TALK),
    )
).map(
    lambda drawn: [
        frame for item in drawn for frame in (item if isinstance(item, list) else [item])
    ]
)


deflated_frames = st.lists(
    st.one_of(st.integers(5, 150).map(deflated_event), st.sampled_from(TALK)), max_size=30
)


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(places)]


@given(frames, st.lists(st.integers(0, 1 << 20), max_size=30))
def test_counter_counts_events_and_hands_out_the_rest_however_the_stream_is_cut(
    sent: list[Frame], cuts: list[int]
) -> None:
    counter = FrameCounter()
    talk = []
    for chunk in chunks(b"".join(map(encode_server, sent)), cuts):
        # The load client reads into a larger buffer that still holds earlier reads.
        talk += counter.feed(bytearray(chunk + b"\x81\x7e" * 100), len(chunk))
    assert counter.events == sum(len(frame.payload) >= 126 for frame in sent)
    assert talk == [frame for frame in sent if len(frame.payload) < 126]
    assert counter.pending == 0


@given(frames, st.lists(st.integers(0, 1 << 20), max_size=30))
def test_parser_gives_back_every_frame_however_the_stream_is_cut(
    sent: list[Frame], cuts: list[int]
) -> None:
    parser = FrameParser()
    received = []
    for chunk in chunks(b"".join(map(encode_server, sent)), cuts):
        received += parser.feed(chunk)
    assert received == sent
    assert parser.rest == b""


@given(deflated_frames, st.lists(st.integers(0, 1 << 20), max_size=30))
def test_compressed_events_are_counted_and_inflated_however_the_stream_is_cut(
    sent: list[Frame], cuts: list[int]
) -> None:
    counter, parser = DeflatedCounter(), FrameParser(deflate=True)
    talk, received = [], []
    for chunk in chunks(b"".join(map(encode_server, sent)), cuts):
        talk += counter.feed(bytearray(chunk + b"\x05\xc1" * 100), len(chunk))
        received += parser.feed(chunk)
    assert counter.events == sum(frame.deflated for frame in sent)
    assert talk == [frame for frame in sent if not frame.deflated]
    assert (counter.pending, counter.plain) == (0, 0)
    assert received == sent


def test_the_compressed_events_are_short_and_long_ones() -> None:
    sizes = [len(encode_server(deflated_event(size))) for size in (5, 150)]
    assert sizes[0] < 126 < sizes[1]


def test_an_event_without_rsv1_is_noticed() -> None:
    stream = bytearray(encode_server(event(200)) + encode_server(deflated_event(9)))
    counter = DeflatedCounter()
    assert counter.feed(stream, len(stream)) == []
    assert (counter.events, counter.plain) == (2, 1)


def test_compression_that_nobody_agreed_on_is_refused() -> None:
    stream = bytearray(encode_server(deflated_event(9)))
    with pytest.raises(UnexpectedFrameError):
        FrameParser().feed(bytes(stream))
    with pytest.raises(UnexpectedFrameError):
        FrameCounter().feed(stream, len(stream))


def test_bytes_that_are_not_compressed_are_refused() -> None:
    with pytest.raises(UnexpectedFrameError, match="compressed"):
        FrameParser(deflate=True).feed(b"\xc1\x03\xff\xff\xff")


def test_counter_takes_over_half_a_frame_from_the_parser() -> None:
    """A greeting and the first half of an event may come in one read."""
    whole = encode_server(TALK[2]) + encode_server(event(150))
    parser, counter = FrameParser(), FrameCounter()
    assert parser.feed(whole[:50]) == [TALK[2]]
    counter.feed(bytearray(parser.rest), len(parser.rest))
    counter.feed(bytearray(whole[50:]), len(whole) - 50)
    assert (counter.events, counter.pending, counter.frame_bytes) == (1, 0, 154)


def test_counter_does_not_take_unequal_frames_for_equal_ones() -> None:
    """The stride must not run over frames of another size, whatever bytes are at its steps."""
    sent = [event(200)] * 9 + [event(199)] + [event(200)] * 9
    stream = bytearray(b"".join(map(encode_server, sent)))
    counter = FrameCounter()
    counter.feed(stream, len(stream))
    assert (counter.events, counter.pending) == (19, 0)


def test_masked_frames_are_refused() -> None:
    """A server must not mask (RFC 6455, section 5.1). A silent wrong count would be worse."""
    with pytest.raises(UnexpectedFrameError, match="unmasked"):
        FrameParser().feed(b"\x81\x85\x00\x00\x00\x00hello")


def test_client_frames_are_masked() -> None:
    frame = encode_client(Opcode.PONG, b"abcde")
    assert frame[:2] == b"\x8a\x85"
    mask, masked = frame[2:6], frame[6:]
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked)) == b"abcde"


def test_client_frames_are_short() -> None:
    with pytest.raises(ValueError, match="at most 125 bytes, got 126"):
        encode_client(Opcode.TEXT, b"x" * 126)
