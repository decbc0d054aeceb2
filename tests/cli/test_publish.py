"""`clarion publish`: its request, and its messages when it fails."""

from __future__ import annotations

import json

import pytest

from clarion import ALL, AUTHENTICATED, Audience, topic, user
from clarion_cli.failure import Failure
from clarion_cli.publish import read_audience, read_data
from tests.cli.clarion import SECRET, Clarion
from tests.cli.publisher import Publisher
from tests.e2e.ports import free_port

# Numbers and spaces that a parser in between would change.
DATA = '{ "price": 1.10, "big": 12345678901234567890123, "e": 1E2 }'


@pytest.mark.parametrize(
    ("to", "audience", "scope"),
    [
        ("all", ALL, "publish:all"),
        ("authenticated", AUTHENTICATED, "publish:authenticated"),
        ("user:alice", user("alice"), "publish:user"),
        ("user:a:b", user("a:b"), "publish:user"),
        ("topic:order.42", topic("order.42"), "publish:topic"),
        ("topic:a:b", topic("a:b"), "publish:topic"),
    ],
)
def test_names_the_audience_and_the_scope_it_needs(to: str, audience: Audience, scope: str) -> None:
    assert read_audience(to) == (audience, scope)


@pytest.mark.parametrize("to", ["", "everyone", "user", "user:", "alice", "topic:"])
def test_refuses_other_audiences(to: str) -> None:
    with pytest.raises(Failure, match="expected --to all, authenticated, user:ID or topic:NAME"):
        read_audience(to)
    with pytest.raises(Failure, match=r"expected a topic of .* got 'order\.\*'"):
        read_audience("topic:order.*")


def test_numbers_may_have_any_length() -> None:
    assert read_data("1" * 70_000) == b"1" * 70_000


@pytest.mark.parametrize("data", ["", "hello", "{", "NaN", '1}, "audience": "all"'])
def test_refuses_what_is_not_json(data: str) -> None:
    with pytest.raises(Failure, match="expected JSON"):
        read_data(data)


def test_sends_standard_input_unchanged_and_prints_the_answer(
    clarion: Clarion, publisher: Publisher
) -> None:
    completed = clarion.run(
        "publish", "--to", "user:alice", "order.updated", "-", "--key", "k", "--no-history",
        stdin=DATA.encode(), CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url,
    )  # fmt: skip
    assert completed.stderr == ""
    assert json.loads(completed.stdout) == {
        "id": "1700000000000000",
        "duplicate": False,
        "gateways": 2,
    }
    ((path, headers, body),) = publisher.asked
    assert path == "/v1/events"
    assert headers["Authorization"].startswith("Bearer ")
    assert b'"data":' + DATA.encode() in body
    assert json.loads(body) == {
        "audience": {"user": "alice"},
        "type": "order.updated",
        "data": json.loads(DATA),
        "key": "k",
        "history": False,
    }


def test_uses_a_token_of_ones_own(clarion: Clarion, publisher: Publisher) -> None:
    clarion.run("publish", "a.b", "1", CLARION_TOKEN="theirs", CLARION_PUBLISHER_URL=publisher.url)
    ((_, headers, _),) = publisher.asked
    assert headers["Authorization"] == "Bearer theirs"


def test_says_why_the_publisher_refused(clarion: Clarion, publisher: Publisher) -> None:
    publisher.answer = (403, b'{"title":"Forbidden","status":403,"detail":"publish:all is needed"}')
    said = clarion.fails(
        "publish", "a.b", "1", CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url
    )
    assert said == "the publisher refused (403): Forbidden: publish:all is needed"


@pytest.mark.parametrize(
    "answer", [(200, b"<html>"), (200, b"[]"), (200, b'{"id": 7}'), (404, b"Not Found")]
)
def test_notices_that_it_speaks_to_something_else(
    clarion: Clarion, publisher: Publisher, answer: tuple[int, bytes]
) -> None:
    publisher.answer = answer
    said = clarion.fails(
        "publish", "a.b", "1", CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url
    )
    assert "not like a publisher of Clarion" in said


def test_says_that_nobody_answers(clarion: Clarion) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = clarion.fails(
        "publish", "a.b", "1", CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=url
    )
    assert said.startswith(f"no publisher answers at {url}: Connection refused")
    assert "is `clarion up` running?" in said
