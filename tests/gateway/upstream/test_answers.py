"""What a backend may answer, and what is none."""

from __future__ import annotations

import pytest

from clarion_contract.events.audience import ALL, topic_audience, user_audience
from clarion_gateway.upstream.answers import InvalidAnswer, decode_answer


def test_an_empty_answer_replies_null() -> None:
    assert bytes(decode_answer(b"").reply) == b"null"
    assert bytes(decode_answer(b"{}").reply) == b"null"


def test_a_reply_passes_byte_for_byte() -> None:
    assert bytes(decode_answer(b'{"reply": {"a" : 1e999} }').reply) == b'{"a" : 1e999}'


@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        ('"all"', ALL),
        ('"user:a:b"', user_audience("a:b")),
        ('{"user":"alice"}', user_audience("alice")),
        ('{"topic":"order.42"}', topic_audience("order.42")),
    ],
)
def test_audiences(audience: str, expected: object) -> None:
    body = f'{{"publish":[{{"audience":{audience},"type":"t","data":1}}]}}'
    (event,) = decode_answer(body.encode()).publish
    assert event.recipients() == expected
    assert bytes(event.data) == b"1"


@pytest.mark.parametrize("audience", ['"nobody"', '"user:"', '{"user":"a","topic":"b"}', "{}"])
def test_no_audience(audience: str) -> None:
    body = f'{{"publish":[{{"audience":{audience},"type":"t"}}]}}'
    with pytest.raises(InvalidAnswer):
        decode_answer(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"null",
        b'{"ok":true}',
        b'{"reply":1',
        b'{"reply":"\xff"}',
        b'{"reply":"\\ud83d"}',
        b'{"publish":{}}',
        b'{"publish":[{"type":"t"}]}',
        b'{"publish":[{"audience":"all","type":"not a type"}]}',
        b'{"publish":[{"audience":"all","type":"t\\n"}]}',
        b'{"publish":[{"audience":"all","type":"t","exclude":"no id"}]}',
        b'{"subscribe":"room.1"}',
        b'{"refuse":{"message":"why"}}',
        b'{"refuse":{"code":"a b"}}',
        b'{"reply":' + b"[" * 100_000,
    ],
)
def test_what_is_none(body: bytes) -> None:
    with pytest.raises(InvalidAnswer, match="expected an answer"):
        decode_answer(body)


@pytest.mark.parametrize("body", [b'{"subscribe":["no topic"]}', b'{"unsubscribe":["room.*"]}'])
def test_no_topic(body: bytes) -> None:
    with pytest.raises(InvalidAnswer, match="expected a topic"):
        decode_answer(body)
