"""A row becomes an event, or a refusal that says why."""

from __future__ import annotations

import pytest

from clarion_contract.events.audience import ALL, topic_audience, user_audience
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.refusal import DATA_TOO_LARGE, INVALID_EVENT, Refusal
from clarion_publisher.sources.outbox.rows import Row, event_of

ROW = Row(7, 1_700, b"user:alice", b"order.updated", None, None, True, b'{"a": 1}', 8)


def event(**fields: object) -> IncomingEvent | Refusal:
    return event_of(ROW._replace(**fields), "abc", data_max_bytes=100)  # type: ignore[arg-type]


def refused(**fields: object) -> Refusal:
    refusal = event(**fields)
    assert isinstance(refusal, Refusal)
    return refusal


def accepted(**fields: object) -> IncomingEvent:
    found = event(**fields)
    assert isinstance(found, IncomingEvent)
    return found


def test_a_row_is_an_event_byte_for_byte() -> None:
    assert event() == IncomingEvent(
        user_audience("alice"), "order.updated", b'{"a": 1}', "\0abc:7:1700", None
    )


def test_a_row_is_its_own_key_also_where_ids_come_again() -> None:
    keys = {accepted(id=7).key, accepted(id=8).key, accepted(created=9).key}
    other = event_of(ROW, "another outbox", data_max_bytes=100)
    assert isinstance(other, IncomingEvent)
    assert len({*keys, other.key}) == 4


@pytest.mark.parametrize(
    ("traceparent", "trace"),
    [
        (None, None),
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",) * 2,
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", b""),
        (b"00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        (b"nonsense \xff", None),
        (b"", None),
    ],
)
def test_a_row_has_a_trace_of_its_own(traceparent: bytes | None, trace: bytes | None) -> None:
    assert accepted(traceparent=traceparent).trace == (None if trace is None else trace.decode())


def test_a_key_of_the_applications_own_counts_instead() -> None:
    assert accepted(key=b"order-42").key == "order-42"


@pytest.mark.parametrize(
    ("text", "audience"),
    [
        (b"all", ALL),
        (b"user:a:b", user_audience("a:b")),
        ("user:ä".encode(), user_audience("ä")),
        (b"topic:order.42", topic_audience("order.42")),
    ],
)
def test_audiences_are_written_as_on_the_command_line(text: bytes, audience: object) -> None:
    assert accepted(audience=text).audience == audience


@pytest.mark.parametrize(
    "text", [b"", b"everybody", b"user", b"all:", b"all:x", b"users:a", b'{"user": "a"}']
)
def test_another_audience_is_refused_with_the_forms_there_are(text: bytes) -> None:
    refusal = refused(audience=text)
    assert refusal.kind is INVALID_EVENT
    assert "all, authenticated, user:<name>, topic:<name>" in refusal.detail


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expected JSON at /data"),
        (b"{", "expected JSON at /data"),
        (b"1 2", "expected JSON at /data"),
        (b'"\xff"', "other bytes"),
        (b'"\\ud83d"', "a lone surrogate"),
        (b"[" * 20_000 + b"]" * 20_000, "nested too deeply"),
    ],
)
def test_bad_data_are_refused(data: bytes, said: str) -> None:
    refusal = refused(data=data)
    assert refusal.kind is INVALID_EVENT
    assert said in refusal.detail


def test_large_data_are_refused_without_being_read() -> None:
    refusal = refused(data=None, size=101)
    assert refusal.kind is DATA_TOO_LARGE
    assert refusal.detail == "expected data of at most 100 bytes, got at least 101 bytes"


@pytest.mark.parametrize("field", ["audience", "type", "key", "exclude"])
def test_text_of_a_database_without_an_encoding_is_refused(field: str) -> None:
    text = b"user:\xff" if field == "audience" else b"\xff"
    assert "UTF-8" in refused(**{field: text}).detail
