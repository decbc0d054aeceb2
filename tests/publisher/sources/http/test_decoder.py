"""Decoding bodies: valid JSON, valid events, and unchanged bytes of data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clarion_contract.events.audience import Audience
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.sources.http.decoder import decode_batch, decode_event
from clarion_publisher.sources.http.problems import (
    INVALID_BATCH,
    INVALID_EVENT,
    MALFORMED_JSON,
    HttpRefusal,
    row_of,
)
from clarion_publisher.sources.http.schemas import NewEvent, audience_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip
NOT_JSON = [
    b"", b" ", b"{", b"}", b"[", b'"', b"'a'", b"tru", b"nul", b"True", b"undefined", b"/**/1",
    b"NaN", b"Infinity", b"-Infinity", b"01", b"1.", b".5", b"+1", b"1e", b"1e+", b"-", b"0x10",
    b"1 2", b"[1,]", b"[,1]", b"[1 2]", b'{"a":1,}', b'{"a"}', b'{"a":}', b"{1:2}", b"{a:1}",
    b'"\\x"', b'"\\u12"', b'"\\u12g4"', b'"\x00"', b'"\n"', b'"\x1f"', b'{"\t":1}', b'"abc',
    b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'"\\ud83d\\ud83d"', b'{"\\ud800":1}',
    b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b"\xef\xbb\xbf1",
    b"1\x00", b"\x0c1", b"\xc2\xa01", b"1\xe2\x80\xa8", b"[" * 100_000, b'{"a":' * 100_000,
]  # fmt: skip


def body(data: bytes) -> bytes:
    return b'{"audience":"all","type":"t","data":' + data + b"}"


def refusal(document: Any) -> HttpRefusal:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(HttpRefusal) as caught:
        decode_event(text)
    return caught.value


def errors(document: Any) -> list[tuple[str, str]]:
    """Pointer and `got` of each error."""
    refused = refusal(document)
    assert refused.row is INVALID_EVENT
    return [(error.pointer, error.got) for error in refused.errors]


class TestData:
    @given(VALUES, st.sampled_from([None, 0, 2]), st.booleans(), st.sampled_from(["", " ", "\n\t"]))
    def test_bytes_pass_untouched(
        self, value: Any, indent: int | None, ensure_ascii: bool, space: str
    ) -> None:
        data = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii).encode()
        padding = space.encode()
        whole = body(padding + data + padding)
        assert bytes(decode_event(whole).data) == data
        batch = b'{"events":[%b,{}]}' % whole
        first, second = decode_batch(batch, max_events=2)
        assert isinstance(first, NewEvent)
        assert bytes(first.data) == data
        assert isinstance(second, Refusal)

    @pytest.mark.parametrize("data", NOT_JSON)
    def test_what_is_no_json_is_refused(self, data: bytes) -> None:
        refused = refusal(body(data))
        assert refused.row is MALFORMED_JSON
        assert len(refused.body) < 1_000
        with pytest.raises(HttpRefusal) as caught:
            decode_batch(b'{"events":[{},' + body(data) + b"]}", max_events=2)
        assert caught.value.row is MALFORMED_JSON

    @given(
        st.binary(max_size=20) | st.text(alphabet='0123456789.eE+-[]{}":,\\u dtrn').map(str.encode)
    )
    @example(b"\xff")
    def test_python_agrees_on_what_is_json(self, data: bytes) -> None:
        """Python's own parser accepts a text if and only if ours does."""
        try:
            decoded = json.loads(body(data), parse_constant=lambda _: pytest.fail("a constant"))
            json.dumps(decoded, ensure_ascii=False).encode()  # fails on half a surrogate pair
            valid = True
        except (ValueError, pytest.fail.Exception):
            valid = False
        try:
            decode_event(body(data))
            accepted = True
        except HttpRefusal as refused:
            accepted = refused.row is not MALFORMED_JSON
        assert accepted == valid


class TestEvents:
    def test_an_event_with_everything(self) -> None:
        event = decode_event(
            b'{"audience":{"user":"al"},"type":"a.b","data":1,"key":"k","exclude":"c"}'
        )
        assert audience_of(event.audience) == Audience("user", "al")
        assert (event.type, event.key, event.exclude) == ("a.b", "k", "c")
        assert event.history

    def test_an_event_without_history(self) -> None:
        event = decode_event(b'{"audience":"all","type":"a","data":1,"history":false}')
        assert not event.history

    @pytest.mark.parametrize(("history", "got"), [(None, "null"), ("no", '"no"'), (0, "0")])
    def test_history_is_true_or_false(self, history: Any, got: str) -> None:
        document = {"audience": "all", "type": "a", "data": 1, "history": history}
        assert errors(document) == [("/history", got)]

    def test_null_is_no_key(self) -> None:
        event = decode_event(b'{"audience":"all","type":"a","data":1,"key":null,"exclude":null}')
        assert (event.key, event.exclude) == (None, None)

    @pytest.mark.parametrize(("document", "got"), [([], "an array"), (1, "1"), (None, "null")])
    def test_no_object(self, document: Any, got: str) -> None:
        assert errors(document) == [("", got)]

    def test_every_bad_field_is_named(self) -> None:
        assert errors({"audience": "nobody", "type": "", "key": 5, "exclude": "a b", "x": {}}) == [
            ("/audience", '"nobody"'),
            ("/type", '""'),
            ("/data", "nothing"),
            ("/key", "5"),
            ("/exclude", '"a b"'),
            ("/x", "an object"),
        ]

    @pytest.mark.parametrize(
        ("audience", "error"),
        [
            ({}, ("/audience", "an object")),
            ({"user": ""}, ("/audience/user", '""')),
            ({"user": 3}, ("/audience/user", "3")),
            ({"user": None}, ("/audience/user", "null")),
            ({"user": "x" * 257}, ("/audience/user", "a string of 257 characters")),
            ({"user": "a", "more": 1}, ("/audience", "an object")),
            ({"topic": "a..b"}, ("/audience/topic", '"a..b"')),
            ({"topic": "order.*"}, ("/audience/topic", '"order.*"')),
            ({"topic": "a" * 129}, ("/audience/topic", "a string of 129 characters")),
            ({"topic": "a", "user": "b"}, ("/audience", "an object")),
            ({"role": "a"}, ("/audience", "an object")),
            (["all"], ("/audience", "an array")),
            (None, ("/audience", "null")),
            (True, ("/audience", "true")),
            (10**60, ("/audience", "a long number")),
        ],
    )
    def test_audiences(self, audience: Any, error: tuple[str, str]) -> None:
        assert errors({"audience": audience, "type": "a", "data": 1}) == [error]

    @pytest.mark.parametrize(
        "kind", ["", "a b", ".a", "a\n", "a\r", "\na", "a" * 129, "\u00e9", "a\x00", "-", "a{b}"]
    )
    def test_types_fit_the_bus_message(self, kind: str) -> None:
        """A type with a space or newline could forge the rest of the message's header."""
        assert [pointer for pointer, _ in errors({"audience": "all", "type": kind, "data": 1})] == [
            "/type"
        ]

    @pytest.mark.parametrize("connection", ["", "a b", "a\n", "a" * 65, "\u00e9"])
    def test_excluded_connections_fit_the_bus_message(self, connection: str) -> None:
        document = {"audience": "all", "type": "a", "data": 1, "exclude": connection}
        assert [pointer for pointer, _ in errors(document)] == ["/exclude"]

    def test_long_values_and_names_are_not_repeated(self) -> None:
        document = {"audience": "x" * 5_000, "type": "y" * 5_000, "z" * 5_000: "a/b~c" * 1_000}
        body = refusal(document).body
        assert len(body) < 1_500
        assert b"x" * 50 not in body
        assert b"z" * 50 not in body

    def test_errors_are_bounded(self) -> None:
        assert len(errors({f"field {n}": n for n in range(1_000)})) == 10

    def test_pointers_are_escaped(self) -> None:
        document = {"audience": "all", "type": "a", "data": 1, "a/b~c": 1}
        assert errors(document) == [("/a~1b~0c", "1")]

    def test_a_bad_field_does_not_hide_what_is_no_json(self) -> None:
        assert refusal(b'{"audience":1,"type":"a","data":[}').row is MALFORMED_JSON


class TestBatches:
    def test_a_bad_event_stands_in_its_place(self) -> None:
        batch = b'{"events":[%b,5,%b]}' % (body(b"1"), body(b"2"))
        first, second, third = decode_batch(batch, max_events=3)
        assert isinstance(first, NewEvent)
        assert isinstance(third, NewEvent)
        assert isinstance(second, Refusal)
        assert row_of(second) is INVALID_EVENT

    def test_taking_a_batch_apart_has_a_price_limit(self) -> None:
        """8 MiB of tiny values that are not events would cost hundreds of megabytes."""
        with pytest.raises(HttpRefusal) as caught:
            decode_batch(b'{"events":[' + b"0," * 1_000_000 + b"0]}", max_events=1_000)
        assert caught.value.row is INVALID_BATCH
        assert "$.events[0]" in str(caught.value.errors)


@pytest.mark.parametrize("first", [b"1", b'{"a":"t"}', b'"-"'])
def test_a_field_that_stands_twice_and_is_wrong_at_first_is_refused(first: bytes) -> None:
    event = b'{"audience":"all","type":' + first + b',"type":"t","data":1}'
    with pytest.raises(Refusal) as refused:
        decode_event(event)
    assert row_of(refused.value) is INVALID_EVENT
    (in_batch,) = decode_batch(b'{"events":[' + event + b"]}", max_events=1)
    assert isinstance(in_batch, Refusal)
    assert in_batch.errors == refused.value.errors
