"""The auction example over two gateways: bids from both sides, one highest, and who watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clarion_examples.auction.store import Postgres
from tests.cli.clarion import ROOT
from tests.e2e.client import Socket, opened
from tests.e2e.stack import Stack, make_stack
from tests.postgres import postgresql
from tests.valkey import Valkey

RULES = ROOT / "examples" / "clarion_examples" / "auction" / "rules.yaml"
AUCTION = "clarion_examples.auction.handlers:handlers"


@pytest.fixture
def database() -> Iterator[str]:
    with postgresql() as server:
        yield server.url()


@pytest.fixture(params=["sqlite", "postgres"])
def auction(
    request: pytest.FixtureRequest, shared_valkey: Valkey, tmp_path: Path, namespace: str
) -> Iterator[Stack]:
    where = {"AUCTION_FILE": str(tmp_path / "auction.sqlite")}
    if request.param == "postgres":
        where = {"AUCTION_DATABASE_URL": request.getfixturevalue("database")}
    made = make_stack(
        tmp_path,
        shared_valkey.url,
        namespace,
        handlers=AUCTION,
        CLARION_TOPIC_RULES=str(RULES),
        **where,
    )
    with made.running():
        yield made


async def test_gateways_that_start_at_the_same_moment_make_the_tables_once(database: str) -> None:
    stores = [Postgres(database) for _ in range(8)]
    await asyncio.gather(*(store.create() for store in stores))
    assert await stores[0].run("SELECT count(*) FROM lots") == [(0,)]


async def ask(socket: Socket, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """The reply or the error; other messages before it are left out."""
    await socket.send(kind="message", ref=1, type=type_, data=data)
    while True:
        message = await socket.receive()
        if message["kind"] in {"reply", "error"}:
            return message


async def presence(socket: Socket, users: int) -> None:
    """Wait until the client is told of so many users."""
    while True:
        message = await socket.receive()
        if message["kind"] == "presence" and message["users"] == users:
            return


async def bids(socket: Socket, last: int) -> list[int]:
    """The bids that the client is told of, up to one."""
    heard: list[int] = []
    while last not in heard:
        message = await socket.receive()
        if message["kind"] == "event":
            assert message["topic"] == "lot.1"
            heard.append(message["data"]["cents"])
    return heard


async def test_bids_from_both_gateways_have_one_highest(auction: Stack) -> None:
    first, second = (gateway.url for gateway in auction.gateways)
    async with (
        opened(first, auction.token("alice")) as alice,
        opened(second, auction.token("bob")) as bob,
        opened(second) as guest,
    ):
        for each in (alice, bob, guest):
            lot = (await ask(each, "lot.watch", {"lot": 1}))["data"]
            assert lot == {"lot": 1, "name": "A lamp", "cents": 0, "bidder": None}
        await presence(guest, 2)
        answers = await asyncio.gather(
            ask(alice, "lot.bid", {"lot": 1, "cents": 500}),
            ask(bob, "lot.bid", {"lot": 1, "cents": 500}),
        )
        assert sorted(answer["kind"] for answer in answers) == ["error", "reply"]
        assert {answer.get("code") for answer in answers} == {None, "too_low"}
        assert (await ask(guest, "lot.bid", {"lot": 1, "cents": 1}))["code"] == "unauthenticated"
        assert (await ask(bob, "lot.bid", {"lot": 9, "cents": 1}))["code"] == "no_lot"
        assert (await ask(bob, "lot.bid", {"lot": 1, "cents": 0}))["code"] == "invalid"
        await ask(alice, "lot.bid", {"lot": 2, "cents": 900})  # nobody here watches that one
        position = guest.welcome["id"]
        assert (await ask(bob, "lot.bid", {"lot": 1, "cents": 600}))["data"]["bidder"] == "bob"
    async with opened(first, since=position, topic="lot.1") as back:
        assert back.welcome["topics"] == ["lot.1"]
        assert await bids(back, 600) == [500, 600]
        lot = (await ask(back, "lot.watch", {"lot": 1}))["data"]
        assert (lot["cents"], lot["bidder"]) == (600, "bob")
    async with opened(first, topic="lot.9") as nobody:
        assert nobody.welcome["forbidden"] == ["lot.9"]
