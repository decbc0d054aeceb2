"""Answers are read completely, however they are cut into pieces."""

from __future__ import annotations

import pytest

from clarion_bench.callers import CallError, request, split_answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
ANSWER = b"HTTP/1.1 201 Created\r\nServer: x\r\ncontent-length: 4\r\n\r\nbody"


def test_a_whole_answer_gives_status_and_body() -> None:
    assert split_answer(ANSWER) == (201, b"body")


@pytest.mark.parametrize("size", range(len(ANSWER)))
def test_a_cut_answer_is_waited_for(size: int) -> None:
    assert split_answer(ANSWER[:size]) is None


def test_an_answer_without_length_is_an_error() -> None:
    with pytest.raises(CallError, match="Content-Length"):
        split_answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("size", [len(CHUNKED) - 1, len(CHUNKED) - 5, 50])
def test_chunks_are_waited_for(size: int) -> None:
    assert split_answer(CHUNKED[:size]) is None
    assert split_answer(CHUNKED) == (200, b"4\r\nbody\r\n0\r\n\r\n")


def test_request_states_its_length() -> None:
    assert request(8080, "/v1/events", "t", b"12345").endswith(b"Content-Length: 5\r\n\r\n12345")
