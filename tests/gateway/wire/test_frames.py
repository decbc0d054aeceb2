"""Independent clients can read the frames of `clarion_gateway.wire.frames` (RFC 6455, RFC 7692)."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Close, Opcode

from clarion_gateway.wire import frames
from tests.gateway.recorder import frames_of

# Where the length field changes its size, and where deflating begins.
EDGES = (0, 1, 63, 64, 125, 126, 65_535, 65_536, 200_000)


@given(st.text())
@example("x" * 125)
@example("x" * 126)
def test_a_text_frame_carries_its_payload(text: str) -> None:
    (frame,) = frames_of(frames.text(text.encode()))
    assert (frame.opcode, frame.fin, bytes(frame.data).decode()) == (Opcode.TEXT, True, text)


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("deflate", [False, True])
def test_every_width_of_the_length_field_is_read(size: int, deflate: bool) -> None:
    payload = random.Random(size).randbytes(size // 2).hex().encode() + b"x" * (size % 2)
    build = frames.deflated_text if deflate else frames.text
    (frame,) = frames_of(build(payload), deflate=deflate)
    assert bytes(frame.data) == payload


@given(st.lists(st.text(max_size=300), max_size=8), st.randoms())
def test_deflated_frames_depend_on_no_earlier_one(texts: list[str], order: random.Random) -> None:
    """One compressed frame serves every socket, whatever each of them got before."""
    built = [(text, frames.deflated_text(text.encode())) for text in texts]
    order.shuffle(built)
    received = frames_of(b"".join(frame for _, frame in built), deflate=True)
    assert [bytes(frame.data).decode() for frame in received] == [text for text, _ in built]


def test_deflating_makes_a_long_repetitive_text_smaller() -> None:
    payload = b'{"price":101.25,"side":"buy"}' * 40
    assert len(frames.deflated_text(payload)) < len(payload) / 5


def test_a_short_text_is_not_worth_deflating() -> None:
    assert frames.deflated_text(b"short") == frames.text(b"short")


@given(st.lists(st.text(max_size=200), min_size=1, max_size=6))
def test_frames_joined_in_one_buffer_stay_apart(texts: list[str]) -> None:
    received = frames_of(b"".join(frames.text(text.encode()) for text in texts))
    assert [bytes(frame.data).decode() for frame in received] == texts


@given(
    st.sampled_from([1000, 1002, 1003, 1007, 1011, 1012, 1013]) | st.integers(4400, 4499),
    st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=123),
)
def test_a_close_frame_carries_code_and_reason(code: int, reason: str) -> None:
    (frame,) = frames_of(frames.close(code, reason))
    assert frame.opcode is Opcode.CLOSE
    assert Close.parse(bytes(frame.data)) == Close(code, reason)


def test_the_ping_is_a_ping_without_payload() -> None:
    (frame,) = frames_of(frames.PING)
    assert (frame.opcode, bytes(frame.data)) == (Opcode.PING, b"")
