"""Membership is data: another kind of audience takes one row of the table, and no other change."""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets import ConnectionClosed

from clarion_contract.events.audience import Audience, UnknownKind
from tests import messages
from tests.e2e.client import Socket, opened, streamed
from tests.e2e.stack import Service, Stack, make_stack

SERVICES = {"gateway": "clarion_gateway", "publisher": "clarion_publisher"}


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The published schema of messages lists Clarion's own kinds; here it lists these two as well."""
    described = copy.deepcopy(messages.schema("server"))
    described["$defs"]["event"]["properties"]["audience"]["enum"] += ["staff", "team"]
    monkeypatch.setattr(messages, "schema", lambda _: described)
    messages.validators.cache_clear()
    yield
    messages.validators.cache_clear()


def knows_staff(service: Service) -> None:
    module = SERVICES[service.program.name.partition("-")[0]]
    command = (sys.executable, "-m", "tests.seams.staff", module)
    service.program = replace(service.program, command=command)


def publish(stack: Stack, scope: str, audience: object, type_: str) -> httpx.Response:
    token = stack.signer.sign("tests", scope=scope, expires_seconds=60)
    event = {"audience": audience, "type": type_, "data": None}
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(
        f"{stack.publisher.url}/v1/events", json=event, headers=headers, trust_env=False
    )


def documented(stack: Stack) -> dict[str, Any]:
    document = httpx.get(f"{stack.publisher.url}/openapi.json", trust_env=False).json()
    schemas: dict[str, Any] = document["components"]["schemas"]
    return schemas


async def types_until(socket: Socket, end: str) -> list[str]:
    return [event["type"] for event in await socket.events_until(end)]


async def test_a_fourth_kind_is_published_delivered_replayed_and_kept_from_others(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    stack = make_stack(tmp_path, redis_url, namespace)
    for service in stack.services:
        knows_staff(service)
    with stack.running():
        first, second = (gateway.url for gateway in stack.gateways)
        async with (
            opened(first, stack.token("alice")) as alice,
            opened(second, stack.token("bob")) as bob,
            opened(second) as guest,
            streamed(second, stack.token("carol")) as carol,
        ):
            assert (await carol.receive())["event"] == "$welcome"
            assert publish(stack, "publish:all", "staff", "no").status_code == 403
            assert publish(stack, "publish:staff", "stuff", "no").status_code == 422
            assert publish(stack, "publish:staff", "staff", "to.staff").status_code == 201
            assert publish(stack, "publish:all", "all", "the.end").status_code == 201
            assert await types_until(alice, "the.end") == ["to.staff", "the.end"]
            assert await types_until(bob, "the.end") == ["the.end"]
            assert await types_until(guest, "the.end") == ["the.end"]
            heard = [event["event"] for event in await carol.events_until("the.end")]
            assert heard == ["to.staff", "the.end"]
            # Who comes back gets it too, on another gateway; who logs out hears no more of it.
            since = alice.welcome["id"]
            async with opened(second, stack.token("alice"), since=since) as again:
                assert again.welcome["resumed"] is True
                assert await types_until(again, "the.end") == ["to.staff", "the.end"]
            await alice.send(kind="auth", ref=1, token=None)
            assert (await alice.receive())["kind"] == "identity"
            publish(stack, "publish:staff", "staff", "later")
            publish(stack, "publish:all", "all", "the.very.end")
            assert await types_until(alice, "the.very.end") == ["the.very.end"]


async def test_a_kind_with_names_is_published_joined_left_replayed_and_documented(
    tmp_path: Path, redis_url: str, namespace: str
) -> None:
    stack = make_stack(tmp_path, redis_url, namespace, GATEWAY_LINGER_SECONDS="0")
    for service in stack.services:
        knows_staff(service)
    with stack.running():
        first, second = (gateway.url for gateway in stack.gateways)
        red = stack.token("alice", teams=["red"])
        async with (
            opened(first, red) as alice,
            opened(second, stack.token("bob", teams=["red", "blue"])) as bob,
            opened(second, stack.token("carol")) as carol,
        ):
            # A narrowed scope covers what its pattern covers.
            assert publish(stack, "publish:team:r", {"team": "blue"}, "no").status_code == 403
            assert publish(stack, "publish:user", {"team": "red"}, "no").status_code == 403
            for wrong in ({"team": "r2"}, {"team": "red", "user": "alice"}, {"team": None}):
                assert publish(stack, "publish:team publish:user", wrong, "no").status_code == 422
            told = publish(stack, "publish:team:r", {"team": "red"}, "to.red")
            assert (told.status_code, told.json()["gateways"]) == (201, 2)
            told = publish(stack, "publish:team", {"team": "blue"}, "to.blue")
            assert (told.status_code, told.json()["gateways"]) == (201, 1), "one has members"
            publish(stack, "publish:all", "all", "the.end")
            assert await types_until(alice, "the.end") == ["to.red", "the.end"]
            assert await types_until(bob, "the.end") == ["to.red", "to.blue", "the.end"]
            assert await types_until(carol, "the.end") == ["the.end"]
            since = alice.welcome["id"]
            async with opened(second, red, since=since) as again:
                assert again.welcome["resumed"] is True
                assert await types_until(again, "the.end") == ["to.red", "the.end"]
            # The next token of the same user decides anew.
            await alice.send(kind="auth", ref=1, token=stack.token("alice", teams=["blue"]))
            assert (await alice.receive())["kind"] == "identity"
            publish(stack, "publish:team", {"team": "red"}, "to.red")
            publish(stack, "publish:team", {"team": "blue"}, "to.blue")
            publish(stack, "publish:all", "all", "the.very.end")
            assert await types_until(alice, "the.very.end") == ["to.blue", "the.very.end"]
        while publish(stack, "publish:team", {"team": "blue"}, "late").json()["gateways"]:
            await asyncio.sleep(0.1)  # the pods give the stream up, after the linger
        schemas = documented(stack)
        assert schemas["TeamAudience"]["required"] == ["team"]
        assert schemas["TeamAudience"]["properties"]["team"]["pattern"] == "^[A-Za-z]+$"
        refused = stack.token("dave", teams=["r2"])
        with pytest.raises(ConnectionClosed, match="expected a team's name of letters, got 'r2'"):
            async with opened(first, refused):
                pass


def test_a_kind_that_the_table_lacks_reaches_nobody() -> None:
    with pytest.raises(UnknownKind, match="out of all, authenticated, user, topic, got 'team'"):
        Audience("team", "red")
