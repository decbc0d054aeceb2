"""`clarion_gateway.transports.socketio.server`: polls that are known, and the same ones when read.

Two gateways hear the same bytes. One of them reads every request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.gateway import running_gateway
from tests.gateway.transports.socketio.polling_client import SIDS, Client, head, post

ORIGIN = "Origin: https://test\r\n"
CONTENT = "Content-Length: 3\r\n"


@contextmanager
def both() -> Iterator[tuple[Client, Client]]:
    with running_gateway() as first, running_gateway() as second:
        yield Client(first, recognizes=True), Client(second, recognizes=False)


_SID = st.sampled_from([*SIDS, "unknown"])
_HEADS = st.builds(
    head,
    _SID,
    st.sampled_from([None, "a", "b2", "%20"]),
    st.sampled_from(["", "", "", ORIGIN, "Connection: close\r\n", CONTENT]),
)
_SAID = st.one_of(
    _HEADS,
    _HEADS,
    _HEADS.map(lambda data: data * 2),
    st.builds(post, _SID, st.sampled_from(["3", "1", "x", ""])),
    st.sampled_from(
        [b"\r\n", b"\r", b"abc", b"GET /sock", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\0"]
    ),
)
_STEPS = st.one_of(
    st.tuples(st.just("say"), _SAID, st.sampled_from([1 << 20, 1 << 20, 1 << 20, 7])),
    st.tuples(st.just("say"), _SAID, st.sampled_from([1 << 20, 1 << 20, 1 << 20, 7])),
    st.tuples(st.just("write"), st.sampled_from(SIDS), st.sampled_from([1, 200, 20_000])),
    st.tuples(st.just("write"), st.sampled_from(SIDS), st.sampled_from([1, 200, 20_000])),
    st.tuples(st.just("end"), st.sampled_from(SIDS)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 4, 30, 80])),
    st.tuples(st.sampled_from(["pause", "resume", "stop"])),
)
_POLL = ("say", head("first", "a"), 1 << 20)
_AGAIN = ("say", head("first", "b2"), 1 << 20)
_WRITE = ("write", "first", 1)
_EMPTY_LINE = ("say", b"\r\n", 9)
_WITH_BODY = [("say", head("first", "a", CONTENT), 1 << 20), ("say", b"abc", 9), _WRITE]


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEPS, max_size=12))
@example([_POLL, _WRITE, _AGAIN, _WRITE, _POLL, _WRITE])
@example([_POLL, _WRITE, _AGAIN, _AGAIN])
@example([_POLL, _WRITE, _AGAIN, ("stop",)])
@example([_POLL, _WRITE, ("end", "first"), _AGAIN, _AGAIN])
@example([_POLL, _WRITE, _EMPTY_LINE, _AGAIN, _WRITE, _EMPTY_LINE, _AGAIN, _WRITE])
@example([*_WITH_BODY, *_WITH_BODY])
@example([_POLL, _WRITE, ("pause",), _AGAIN])
@example([_POLL, _WRITE, ("say", post("first", "3"), 1 << 20), _WRITE, _AGAIN])
@example([_POLL, _WRITE, ("wait", 80), _AGAIN])
@example([_POLL, _WRITE, ("say", b"GET /sock", 9), _AGAIN])
def test_a_poll_that_is_known_has_the_answer_of_one_that_is_read(steps: list[Any]) -> None:
    with both() as clients:
        for step in steps:
            for client in clients:
                client.do(*step)
            known, read = (client.heard for client in clients)
            assert known == read, step


def test_a_poll_that_comes_again_is_not_read() -> None:
    with both() as (client, _):
        for number, cache_buster in enumerate(["a", "b", "c17"]):
            client.do("write", "first", 1)
            client.say(head("first", cache_buster))
            assert client.begun == (number == 0)
        client.do("write", "second", 1)
        client.say(head("second", "d"))
        assert client.begun == 1


def test_a_connection_that_is_lost_keeps_no_poll() -> None:
    with both() as (client, _):
        client.say(head("first", "a"))
        client.gateway.transport.abort()
        client.gateway.loop.settle()
        assert client.session("first") is None
        assert client.protocol._known is None
