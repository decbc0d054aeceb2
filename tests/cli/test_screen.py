"""`clarion_cli.screen`: the logs while all is up; after a failed start, the failed process only."""

from __future__ import annotations

import json

import pytest

from clarion_cli.output import Output
from clarion_cli.screen import Screen


def test_a_failed_start_shows_only_the_process_that_failed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(Output())
    screen.line("valkey", "Ready to accept connections")
    screen.line("gateway-1", "Traceback")
    screen.line("gateway-1", "OSError: no database")
    screen.explain("gateway-1")
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.partition("| ")[2] for line in err.splitlines()] == [
        "Traceback",
        "OSError: no database",
    ]


def test_logs_are_relayed_while_it_is_up(capfd: pytest.CaptureFixture[str]) -> None:
    screen = Screen(Output())
    screen.line("gateway-1", "before")
    screen.up({"kind": "up"}, "")
    screen.line("gateway-1", "meanwhile")
    screen.stopping()
    screen.line("gateway-1", "after")
    out, err = capfd.readouterr()
    assert json.loads(out) == {"kind": "up"}
    assert err == "gateway-1  | meanwhile\n"
