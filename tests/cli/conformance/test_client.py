"""The kit for clients: `clarion tail` keeps every rule, and clients that do not are found out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clarion_cli.conformance.check import run_checks
from clarion_cli.conformance.client import CHECKS
from clarion_cli.conformance.stage import Client
from tests.cli.clarion import Clarion, command

pytestmark = pytest.mark.timeout(400)

# Connects again and again from the beginning, whatever the server says, and knows no pings.
CARELESS = """
import asyncio, contextlib, json, os
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

async def main():
    url = os.environ["CLARION_GATEWAY_URL"].replace("http", "ws") + "/ws"
    while True:
        async with connect(url, ping_interval=None, proxy=None) as socket:
            with contextlib.suppress(ConnectionClosed):
                async for text in socket:
                    if json.loads(text)["kind"] == "event":
                        print(text, flush=True)

asyncio.run(main())
"""


# Each rule starts the client anew. tests/clients/python/client has the other codes.
FINAL, PASSING = "a close with 4400 is the end", "a close with 1012 is not the end"
ASKED = [check for check in CHECKS if "a close with" not in check.rule]
ASKED += [check for check in CHECKS if check.rule in (FINAL, PASSING)]


async def test_clarion_tail_keeps_the_rules() -> None:
    client = Client(command("tail", "--json"))
    results = [each async for each in run_checks(ASKED, client)]
    assert [result for result in results if result.outcome != "kept"] == []
    assert len(results) == 8


async def test_a_careless_client_is_found_out() -> None:
    client = Client([sys.executable, "-c", CARELESS])
    rules = {check.rule: check for check in CHECKS}
    position = "a client comes back with its position and its connection"
    asked = [rules[rule] for rule in (position, FINAL, PASSING)]
    results = [each async for each in run_checks(asked, client)]
    assert [each.outcome for each in results] == ["broken", "broken", "kept"]
    assert results[0].detail == "expected `since` of the second connection '11', got None"
    assert results[1].detail == "expected the client to stay away, but it came back"


def test_a_server_and_a_client_exclude_each_other(tmp_path: Path) -> None:
    said = Clarion(tmp_path).fails("conformance", "--server", "http://x", "--client", "x")
    assert "exclude each other" in said


def test_a_program_that_cannot_be_started_is_one_line(tmp_path: Path) -> None:
    clarion = Clarion(tmp_path)
    said = clarion.fails("conformance", "--client", "no-such-program --json")
    assert said == "cannot start the client no-such-program: No such file or directory"
    assert "expected a command line" in clarion.fails("conformance", "--client", "a 'quote")
    assert "expected a command line" in clarion.fails("conformance", "--client", " ")


async def test_a_program_that_ends_breaks_the_rule_at_once() -> None:
    client = Client([sys.executable, "-c", "raise SystemExit(3)"])
    results = [each async for each in run_checks(ASKED, client)]
    said = "expected the client to run on, but it exited with 3"
    assert {each.detail for each in results} == {said}


# Prints nothing, and ends with the first close.
SINGLE = """
import os
from websockets.sync.client import connect
with connect(os.environ["CLARION_GATEWAY_URL"].replace("http", "ws"), proxy=None) as socket:
    for _ in socket: pass
"""


async def test_a_program_that_ends_at_a_final_close_stays_away() -> None:
    client = Client([sys.executable, "-c", SINGLE])
    asked = [check for check in CHECKS if check.rule in (FINAL, PASSING)]
    results = {each.rule: each.outcome async for each in run_checks(asked, client)}
    assert results == {FINAL: "kept", PASSING: "broken"}
