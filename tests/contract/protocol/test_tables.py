"""The protocol's tables agree with the services, the pages and the clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from clarion_contract.protocol import tables
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_publisher.sources.http import problems
from docs import protocol_tables

CLOSES = [row for row in vars(close_codes).values() if isinstance(row, Close)]


def test_every_close_of_the_gateway_stands_there_with_its_code() -> None:
    assert {(row.label, row.code) for row in CLOSES} == {
        (row.label, row.code) for row in tables.closes()
    }


@pytest.mark.parametrize("row", tables.closes(), ids=lambda row: row.label)
def test_the_gateway_means_the_same_by_reconnect(row: tables.Close) -> None:
    (close,) = (each for each in CLOSES if each.label == row.label)
    if row.code == tables.NORMAL_CODE:
        assert row.verdict == "retry", "a client that did not close by itself comes back"
    else:
        assert close.reconnect == (row.verdict == "retry")
    assert (row.verdict == "token") == (row.code == 4401)


@pytest.mark.parametrize("row", tables.closes(), ids=lambda row: row.label)
def test_one_code_has_one_verdict(row: tables.Close) -> None:
    assert {each.verdict for each in tables.closes() if each.code == row.code} == {row.verdict}


def test_one_status_has_one_verdict() -> None:
    verdicts = {(row.status, row.verdict) for row in tables.refusals()}
    assert len(verdicts) == len({status for status, _ in verdicts})


def test_the_problems_are_those_of_the_publisher() -> None:
    assert {(row.name, row.status, row.retryable) for row in problems.ROWS} == {
        (row.name, row.status, row.retryable) for row in tables.problems()
    }


@pytest.mark.parametrize(
    ("code", "verdict"),
    [(4401, "token"), (4403, "stop"), (403, "stop"), (503, "retry"), (4999, "retry"),
     ("expired", "token"), ("draining", "retry")],
)  # fmt: skip
def test_what_to_do(code: int | str, verdict: str) -> None:
    assert tables.verdict(code) == verdict


@pytest.mark.parametrize("page", protocol_tables.PAGES, ids=lambda page: page.name)
def test_the_pages_have_the_tables(page: Path) -> None:
    """If it fails: edit the JSON in contract/, then python -m docs.protocol_tables."""
    assert page.read_text() == protocol_tables.page(page.read_text())


def test_every_table_stands_on_a_page() -> None:
    text = "".join(page.read_text() for page in protocol_tables.PAGES)
    assert all(f"<!-- protocol: {name} -->" in text for name in protocol_tables.BLOCKS)
