"""The output of `clarion up`: every gateway's page; after a failed start, the failed process only.

tests/e2e/test_up.py starts it.
"""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.outbox import EMBEDDED
from clarion_cli.output import Output
from clarion_cli.state import Addresses
from clarion_cli.token import Signer
from clarion_cli.up import Screen, check_handlers, describe_stack, find_outbox
from tests.cli.clarion import SECRET

ADDRESSES = Addresses(
    gateways=tuple(f"http://127.0.0.1:{port}" for port in (8001, 8002, 8003)),
    publisher="http://127.0.0.1:8080",
)


def test_prints_every_gateways_page() -> None:
    record, text = describe_stack(ADDRESSES, Signer(SECRET))
    console = Console(width=100)
    with console.capture() as capture:
        console.print(text, soft_wrap=True)
    lines = [" ".join(line.split()) for line in capture.get().splitlines()]
    for number, url in enumerate(ADDRESSES.gateways, start=1):
        assert f"gateway-{number} {url}" in lines
    assert record["gateways"] == ADDRESSES.gateways


def test_prints_how_to_try_the_outbox_where_there_is_one() -> None:
    url = "postgresql://postgres@127.0.0.1:5432/postgres"
    addresses = Addresses(ADDRESSES.gateways, ADDRESSES.publisher, url)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(describe_stack(addresses, Signer(SECRET))[1], soft_wrap=True)
    text = capture.get()
    assert text.count(f"psql {url}") == 3
    assert "psql" not in str(describe_stack(ADDRESSES, Signer(SECRET)))


@pytest.mark.parametrize(
    ("outbox", "extra"),
    [(EMBEDDED, "postgres-embedded"), ("postgresql://me@127.0.0.1/shop", "postgres")],
)
def test_an_outbox_without_a_driver_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, outbox: str, extra: str
) -> None:
    monkeypatch.setattr("clarion_cli.up.find_spec", lambda _: None)
    with pytest.raises(Failure, match=f"needs Clarion's extra `{extra}`$") as failed:
        find_outbox(outbox)
    assert failed.value.code is ExitCode.SETUP


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


@pytest.mark.parametrize("path", ["", "shop:handlers", "shop.live:handlers"])
def test_accepts_a_module_and_a_name(path: str) -> None:
    check_handlers(path)


@pytest.mark.parametrize(
    "path", ["shop", "shop:", ":handlers", "shop.py:handlers()", "a/b:c", "a..b:c"]
)
def test_refuses_another_form_before_anything_is_started(path: str) -> None:
    with pytest.raises(Failure, match="expected --handlers MODULE:NAME") as failure:
        check_handlers(path)
    assert failure.value.code is ExitCode.USAGE
