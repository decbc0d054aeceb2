"""The table of problems, and the documents and headers that are made from it."""

from __future__ import annotations

import json

import pytest

from clarion_publisher.ingestion.refusal import (
    INSUFFICIENT_SCOPE,
    KINDS,
    RATE_LIMITED,
    Kind,
    Refusal,
)
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.problems import (
    ROWS,
    HttpRefusal,
    Row,
    document_of,
    headers_of,
    of_status,
    row_of,
)


def test_every_row_stands_in_the_table() -> None:
    declared = [value for value in vars(problems).values() if isinstance(value, Row)]
    assert list(ROWS) == declared
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_http_can_show_whatever_ingestion_refuses_with(kind: Kind) -> None:
    refusal = Refusal(kind, "what happened")
    assert row_of(refusal).kind is kind
    assert json.loads(document_of(refusal))["status"] == row_of(refusal).status


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_documents_are_rfc_9457(row: Row) -> None:
    document = json.loads(HttpRefusal(row, "what happened").body)
    assert document == {
        "type": f"urn:clarion:problem:{row.name}",
        "title": row.title,
        "status": row.status,
        "detail": "what happened",
        "retryable": row.retryable,
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_only_what_may_succeed_later_is_retryable(row: Row) -> None:
    assert row.retryable == (row.status in {408, 429, 500, 503})


def test_challenges_are_rfc_6750() -> None:
    refusal = Refusal(INSUFFICIENT_SCOPE, "why", scope="publish:all")
    assert dict(headers_of(refusal))["www-authenticate"] == (
        'Bearer realm="clarion", error="insufficient_scope", error_description="why", '
        'scope="publish:all"'
    )


def test_retry_after() -> None:
    refusal = Refusal(RATE_LIMITED, "", retry_after_seconds=7)
    assert headers_of(refusal) == [("retry-after", "7")]
    assert json.loads(document_of(refusal))["retry_after_seconds"] == 7


@pytest.mark.parametrize(
    ("status", "row"),
    [
        (404, problems.NOT_FOUND),
        (405, problems.METHOD_NOT_ALLOWED),
        (418, problems.MALFORMED_REQUEST),
        (502, problems.INTERNAL),
    ],
)
def test_statuses_that_frameworks_choose(status: int, row: Row) -> None:
    refusal = of_status(status, "why")
    assert (refusal.row.name, json.loads(refusal.body)["status"]) == (row.name, status)
