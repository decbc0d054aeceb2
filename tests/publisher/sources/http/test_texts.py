"""Growing texts over HTTP: pieces, repeats, ends, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from clarion_contract.events.audience import topic_audience
from clarion_contract.texts.piece import Piece, piece_of
from clarion_publisher.sources.http import problems
from tests.publisher.service import Service, bearer, serving
from tests.publisher.sources.http.test_routes import assert_problem

PATH = "/v1/topics/answer.1/texts/a"


def status(response: httpx.Response) -> tuple[str | None, str]:
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["stream"] == "a"
    return answer["state"], answer["reason"]


def write(client: httpx.Client, **piece: Any) -> tuple[str | None, str]:
    return status(client.post(PATH, json=piece))


def pieces(service: Service) -> list[Piece]:
    return [piece_of(event) for event in service.published(topic_audience("answer.1"))]


def test_a_text_is_written_piece_by_piece(redis_url: str, namespace: str) -> None:
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        assert write(client, seq=1, type="answer", text='Say "') == ("writing", "")
        for _ in range(2):  # the second one changes nothing
            assert write(client, seq=2, text="hü") == ("writing", "")
        assert status(client.post(PATH)) == ("writing", "")  # the producer lives
        assert write(client, seq=3, text='"', state="done") == ("done", "")
        assert write(client, seq=4, text="more") == ("done", "")
        assert pieces(service) == [Piece("a", 3, True, "done", 'Say "hü"')]
        (event,) = service.published(topic_audience("answer.1"))
        assert event.type == "answer"


def test_it_may_fail_for_a_reason(redis_url: str, namespace: str) -> None:
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        write(client, seq=1)
        assert write(client, seq=2, state="failed", reason="no_model") == ("failed", "no_model")


def test_it_is_stopped(redis_url: str, namespace: str) -> None:
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        assert status(client.post(f"{PATH}/stop")) == (None, "")
        write(client, seq=1)
        assert status(client.post(f"{PATH}/stop")) == ("stopped", "")
        assert write(client, seq=2, text="more") == ("stopped", "")
        assert [piece.state for piece in pieces(service)] == ["stopped"]


def test_a_text_that_nobody_began_is_unknown(redis_url: str, namespace: str) -> None:
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        assert write(client, seq=2, text="x") == (None, "")
        assert status(client.post(PATH)) == (None, "")


def test_what_is_too_large_fails(redis_url: str, namespace: str) -> None:
    with (
        serving(redis_url, namespace=namespace, text_max_bytes=1_024) as service,
        service.client() as client,
    ):
        write(client, seq=1, text="a" * 1_000)
        assert write(client, seq=2, text="a" * 25) == ("failed", "too_large")


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        (PATH, {"seq": 3, "text": "x"}, "expected the next piece's number, 2 at /seq, got 3"),
        (PATH, {"text": "x"}, "expected the piece's number, from 1 at /seq, got 0"),
        (PATH, {"seq": -1}, "expected a number from 0 at /seq"),
        (PATH, {"seq": 2, "state": "stopped"}, "expected writing, done or failed at /state"),
        (
            PATH,
            {"seq": 2, "state": "failed", "reason": "No way"},
            "expected one word of a to z, 0 to 9 and _ at /reason",
        ),
        (PATH, {"seq": 2, "more": 1}, "more"),
        ("/v1/topics/answer.1/texts/b", {"seq": 1, "type": "no type"}, "at /type"),
        ("/v1/topics/answer.*/texts/a", {"seq": 1}, "in the path"),
        ("/v1/topics/answer.1/texts/a%20b", {"seq": 1}, "expected a name of the form"),
        ("/v1/topics/cursor.1/texts/a", {"seq": 1}, "expected a topic with history"),
    ],
)
def test_bad_pieces_are_refused(
    redis_url: str, namespace: str, path: str, body: dict[str, Any], detail: str
) -> None:
    rules = '{"topics":[{"pattern":"cursor.*","history":false}]}'
    with (
        serving(redis_url, namespace=namespace, topic_rules=rules) as service,
        service.client() as client,
    ):
        write(client, seq=1)
        problem = assert_problem(client.post(path, json=body), problems.INVALID_REQUEST)
        assert detail in problem["detail"]


def test_a_scope_that_does_not_cover_the_topic_is_not_enough(
    redis_url: str, namespace: str
) -> None:
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        other = bearer(scope="publish:topic:order.*")
        for path in (PATH, f"{PATH}/stop"):
            answer = client.post(path, json={"seq": 1}, headers=other)
            assert_problem(answer, problems.INSUFFICIENT_SCOPE)
        narrow = bearer(scope="publish:topic:answer.*")
        assert client.post(PATH, json={"seq": 1}, headers=narrow).status_code == 200


def test_pieces_count_as_events(redis_url: str, namespace: str) -> None:
    limits = {"rate_events_per_second": 1, "rate_burst_events": 1}
    with serving(redis_url, namespace=namespace, **limits) as service, service.client() as client:
        write(client, seq=1)
        assert_problem(client.post(PATH, json={"seq": 2}), problems.RATE_LIMITED)
