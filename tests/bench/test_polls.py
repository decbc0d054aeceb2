"""`clarion_bench.polls.PollSession`: a poll follows each answer, and a POST what must be answered."""

from __future__ import annotations

import pytest

from clarion_bench.dialects import SOCKET_IO_POLLING
from clarion_bench.polls import PollSession, UnexpectedResponseError


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def opened() -> PollSession:
    session = PollSession(SOCKET_IO_POLLING, 8001)
    assert session.begin("&token=a").startswith(
        b"GET /socket.io/?EIO=4&transport=polling&token=a&t=00000001 HTTP/1.1\r\n"
    )
    messages, request = session.feed(answer(b'0{"sid":"abc","upgrades":[]}'))
    assert messages == []
    assert request.startswith(
        b"POST /socket.io/?EIO=4&transport=polling&token=a&sid=abc&t=00000002 HTTP/1.1\r\n"
    )
    assert request.endswith(b"\r\n\r\n40")
    assert session.feed(answer(b"ok"))[1].startswith(b"GET ")
    assert not session.is_open
    assert session.feed(answer(b'40{"sid":"x"}'))[1].startswith(b"GET ")
    assert session.is_open
    return session


def test_each_message_of_an_answer_counts_and_the_next_poll_follows() -> None:
    messages, request = opened().feed(answer(b'42["a",1]\x1e42["a",2]'))
    assert messages == [b'42["a",1]', b'42["a",2]']
    assert request.startswith(b"GET ")


def test_a_ping_is_answered_by_a_post() -> None:
    session = opened()
    messages, request = session.feed(answer(b'2\x1e42["a",1]'))
    assert messages == [b'42["a",1]']
    assert request.startswith(b"POST ")
    assert request.endswith(b"\r\n\r\n3")
    assert session.feed(answer(b"ok"))[1].startswith(b"GET ")


def test_an_answer_may_come_in_pieces() -> None:
    session = opened()
    data = answer(b'42["a",1]')
    for byte in data[:-1]:
        assert session.feed(bytes([byte])) == ([], b"")
    assert session.feed(data[-1:])[0] == [b'42["a",1]']


def test_a_refusal_is_told() -> None:
    with pytest.raises(UnexpectedResponseError, match="400 Bad Request"):
        opened().feed(answer(b"{}", b"400 Bad Request"))
