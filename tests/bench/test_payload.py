"""Every server carries the same bytes, and the number and time are found in all their messages."""

from __future__ import annotations

import json
import zlib

import pytest

from clarion_bench import payload


def test_size_is_constant_and_long_enough_to_count_as_an_event() -> None:
    first, last = payload.encode(0, 0), payload.encode(99_999_999, 999_999_999_999_999_999)
    assert len(first) == len(last) == payload.SIZE_BYTES
    assert 126 <= payload.SIZE_BYTES <= 170
    assert json.loads(first)["seq"] == "00000000"


@pytest.mark.parametrize("size", [payload.LARGER_BYTES, 1_500, 60_000])
def test_larger_events_have_exactly_their_size_and_the_same_fields(size: int) -> None:
    event = payload.encode(4711, 123_456_789, size)
    assert len(event) == size
    assert payload.decode(event) == (4711, 123_456_789)
    assert json.loads(event).items() > json.loads(payload.encode(4711, 123_456_789)).items()


def test_larger_events_compress_like_json_and_not_like_filling() -> None:
    event = payload.encode(0, 0, 1_500)
    assert 2 < len(event) / len(zlib.compress(event)) < 5


def test_a_size_between_the_two_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least"):
        payload.encode(0, 0, payload.SIZE_BYTES + 1)


@pytest.mark.parametrize(
    "message",
    [
        b"%b",
        b'42["order.updated",%b]',
        b'{"kind":"event","id":"1732440000000000","audience":"all","data":%b}',
    ],
)
def test_sequence_and_clock_are_found_in_any_servers_message(message: bytes) -> None:
    assert payload.decode(message % payload.encode(4711, 123_456_789)) == (4711, 123_456_789)


def test_a_server_that_reencodes_the_json_changes_nothing() -> None:
    data = payload.encode(7)
    assert json.dumps(json.loads(data), separators=(",", ":")).encode() == data
