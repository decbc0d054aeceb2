"""`clarion_gateway.connections.close_codes`: rows can be sent, and clients tell them apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.wire import frames
from tests.gateway.recorder import frames_of

ROWS = {name: row for name, row in vars(close_codes).items() if isinstance(row, Close)}


def test_labels_are_unique() -> None:
    """Each row is counted apart from all others in ``clarion_closes_total``."""
    labels = [row.label for row in ROWS.values()]
    assert sorted(labels) == sorted(set(labels))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_well_formed(name: str) -> None:
    row = ROWS[name]
    assert len(row.reason.encode()) <= 123, "RFC 6455, section 5.5"
    assert re.fullmatch(r"[a-z][a-z_]*", row.label)
    assert 200 <= row.status <= 599
    assert row.code in {1000, 1002, 1003, 1006, 1007, 1011, 1012, 1013} or 4400 <= row.code <= 4499


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].code != 1006])
def test_a_row_makes_a_close_frame_that_a_client_reads(name: str) -> None:
    """All but 1006, which no one may send (RFC 6455, section 7.4.1)."""
    row = ROWS[name]
    (frame,) = frames_of(frames.close(row.code, row.reason))
    assert bytes(frame.data) == row.code.to_bytes(2, "big") + row.reason.encode()


def test_a_code_of_ours_follows_the_http_status_that_it_resembles() -> None:
    for row in ROWS.values():
        if row.code >= 4400:
            assert row.code - 4000 == row.status


@given(st.text())
@example("\u20ac" * 200)
def test_a_detail_of_any_length_makes_a_reason_that_fits(detail: str) -> None:
    for close in (close_codes.protocol_error(detail), close_codes.unauthenticated(detail)):
        assert len(close.reason.encode()) <= 123
        frames_of(frames.close(close.code, close.reason))


def test_the_limit_is_told_to_who_exceeded_it() -> None:
    assert close_codes.too_large(1 << 26).reason == "expected messages of at most 67108864 bytes"
