"""The output of `clarion up` once all runs: every gateway's page, and the outbox where there is one."""

from __future__ import annotations

import pytest
from rich.console import Console

from clarion_cli.announcement import describe_stack
from clarion_cli.state import Addresses
from clarion_cli.token import Signer
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


@pytest.mark.parametrize("handlers", ["shop.live:handlers", None])
def test_prints_the_handlers_and_where_the_interfaces_are_described(handlers: str | None) -> None:
    record, text = describe_stack(ADDRESSES, Signer(SECRET), handlers)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(text, soft_wrap=True)
    lines = [" ".join(line.split()) for line in capture.get().splitlines()]
    assert f"mounted {handlers or 'none'}" in lines
    assert "described http://127.0.0.1:8001/asyncapi.json" in lines
    assert "API page http://127.0.0.1:8080/docs" in lines
    assert record["handlers"] == handlers


def test_prints_how_to_try_the_outbox_where_there_is_one() -> None:
    url = "postgresql://postgres@127.0.0.1:5432/postgres"
    addresses = Addresses(ADDRESSES.gateways, ADDRESSES.publisher, url)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(describe_stack(addresses, Signer(SECRET))[1], soft_wrap=True)
    text = capture.get()
    assert text.count(f"psql {url}") == 3
    assert "psql" not in str(describe_stack(ADDRESSES, Signer(SECRET)))
