"""`clarion_gateway.transports.socketio.repeats`: a head is known only if it says the same again."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from clarion_gateway.transports.request import fields_of
from clarion_gateway.transports.socketio.repeats import HEAD_MAX_BYTES, KnownHead, is_whole_head
from clarion_gateway.transports.target import split

HEAD = b"GET /socket.io/?EIO=4&transport=polling&t=Pabc&sid=abc HTTP/1.1\r\nHost: a\r\n\r\n"


class _Read:
    """A request as llhttp reads it."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.completed = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_message_complete(self) -> None:
        self.completed += 1

    @property
    def meaning(self) -> object:
        path, query = split(self.url)
        fields = {**fields_of(query.decode("latin-1")), "t": ""}
        method = self.parser.get_method()
        return method, path, fields, self.headers, self.completed, self.parser.should_keep_alive()


def meaning_of(data: bytes) -> object:
    try:
        return _Read(data).meaning
    except httptools.HttpParserError:
        return None


PIECES = st.sampled_from(
    [b"t=", b"t=Pabc", b"t=P.1", b"t=%26sid=x", b"&", b"?", b"#", b" ", b"=", b"sid=abc", b"sid=x",
     b"EIO=4", b"at=1", b"t", b"\r\n", b"Host: a", b"Origin: b", b"Content-Length: 3", b" HTTP/1.1",
     b"GET ", b"/", b"a" * 40, b"\xe4", b"+", b"%74=1"]
)  # fmt: skip
QUERIES = st.lists(PIECES, max_size=8).map(b"".join)


def request(query: bytes, more: bytes = b"") -> bytes:
    return b"GET /socket.io/?" + query + b" HTTP/1.1\r\nHost: a\r\n" + more + b"\r\n"


@given(QUERIES, st.one_of(QUERIES, st.binary(max_size=20)), st.binary(max_size=3))
@example(b"t=a", b"t=b", b"")
@example(b"t=a&sid=abc", b"t=a&sid=x&sid=abc", b"")
@example(b"at=a", b"at=b", b"")
@example(b"sid=abc&t=a", b"sid=x&t=a", b"")
@example(b"t=a#", b"t=#", b"")
def test_a_head_that_is_known_means_the_same(first: bytes, second: bytes, more: bytes) -> None:
    known, again = request(first), request(second) + more
    meaning = meaning_of(known)
    assume(meaning is not None)
    if KnownHead(known).is_repeated_by(again):
        assert meaning_of(again) == meaning


@given(st.integers(0, len(HEAD) - 1), st.integers(0, 255))
def test_no_other_byte_may_differ(place: int, byte: int) -> None:
    data = HEAD[:place] + bytes([byte]) + HEAD[place + 1 :]
    if KnownHead(HEAD).is_repeated_by(data):
        assert meaning_of(data) == meaning_of(HEAD)


@pytest.mark.parametrize("buster", [b"", b"a", b"Pabc.17", b"1764505123.5", b"x" * 32])
def test_the_cache_buster_of_clients_may_differ(buster: bytes) -> None:
    assert KnownHead(HEAD).is_repeated_by(HEAD.replace(b"Pabc", buster))


@pytest.mark.parametrize("buster", [b"&sid=x", b"a b", b"%26", b"x" * 33, b"\r\n", b"a#"])
def test_a_cache_buster_of_another_form_is_read(buster: bytes) -> None:
    assert not KnownHead(HEAD).is_repeated_by(HEAD.replace(b"Pabc", buster))


def test_a_head_without_a_cache_buster_is_known_by_all_of_it() -> None:
    head = HEAD.replace(b"&t=Pabc", b"")
    assert KnownHead(head).is_repeated_by(head)
    assert not KnownHead(head).is_repeated_by(HEAD)
    assert not KnownHead(HEAD).is_repeated_by(head)
    assert not KnownHead(head).is_repeated_by(head + b"\r\n")


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (HEAD, True),
        (HEAD + HEAD, False),
        (b"\r\n" + HEAD, False),
        (HEAD + b"\r\n", False),
        (HEAD[:-1], False),
        (HEAD.replace(b"GET", b"POST"), False),
        (request(b"a" * (HEAD_MAX_BYTES - len(request(b"")))), True),
        (request(b"a" * (HEAD_MAX_BYTES - len(request(b"")) + 1)), False),
        (b"", False),
    ],
)
def test_only_a_head_by_itself_is_one(data: bytes, is_one: bool) -> None:
    assert is_whole_head(data) == is_one
