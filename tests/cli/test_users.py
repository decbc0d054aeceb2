"""`clarion users`, `connections` and `disconnect`: their requests, and their output."""

from __future__ import annotations

import json

import jwt
import msgspec
import pytest
from rich.console import Console, RenderableType

from clarion_cli.users import (
    AllConnections,
    ConnectionsReceipt,
    DisconnectReceipt,
    UserPresence,
    _describe_connections,
    _describe_disconnect,
    _describe_topics,
    _describe_user,
)
from tests.cli.clarion import SECRET, Clarion
from tests.cli.publisher import Publisher

USER = b"""{"user":"a/b","connected":true,"connections":3,"since":"2026-11-24T11:41:48.659000Z","pods":[
 {"pod":"gateway-1","connections":2,"since":"2026-11-24T11:41:48.659000Z"},
 {"pod":"gateway-2","connections":1,"since":"2026-11-24T11:43:00Z"}]}"""
NOBODY = b'{"user":"bob","connected":false,"connections":0,"since":null,"pods":[]}'
CONNECTIONS = b"""{"connections":5,"anonymous":2,"authenticated":3,"pods":[
 {"pod":"gateway-1","connections":5,"anonymous":2,"authenticated":3,"users":1,"ready":true}]}"""


def shown(text: RenderableType) -> list[str]:
    """The lines of a terminal, with single spaces."""
    console = Console(width=100)
    with console.capture() as capture:
        console.print(text)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def test_asks_for_a_user_by_an_encoded_id(clarion: Clarion, publisher: Publisher) -> None:
    publisher.answer = (200, USER)
    completed = clarion.run(
        "users", "a/b", CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url
    )
    assert completed.stderr == ""
    assert completed.stdout.count("\n") == 1
    said = json.loads(completed.stdout)
    assert [pod["connections"] for pod in said["pods"]] == [2, 1]
    ((path, headers, body),) = publisher.asked
    assert (path, body) == ("/v1/users/a%2Fb", b"")
    claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), SECRET, ["HS256"])
    assert claims["scope"] == "users:read"


def test_asks_for_all_connections(clarion: Clarion, publisher: Publisher) -> None:
    publisher.answer = (200, CONNECTIONS)
    completed = clarion.run(
        "connections", CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url
    )
    assert json.loads(completed.stdout)["pods"][0]["users"] == 1
    assert [path for path, _, _ in publisher.asked] == ["/v1/connections"]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ((), {"reconnect": True, "revoke": False}),
        (("--bar", "--revoke"), {"reconnect": False, "revoke": True}),
        (("--reason", "moved"), {"reconnect": True, "revoke": False, "reason": "moved"}),
    ],
)
def test_disconnects(
    clarion: Clarion, publisher: Publisher, options: tuple[str, ...], order: object
) -> None:
    publisher.answer = (200, b'{"gateways":2,"connections":3}')
    completed = clarion.run(
        "disconnect", "alice", *options,
        CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url,
    )  # fmt: skip
    assert json.loads(completed.stdout) == {"gateways": 2, "connections": 3}
    ((path, headers, body),) = publisher.asked
    assert path == "/v1/users/alice/disconnect"
    assert json.loads(body) == order
    claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), SECRET, ["HS256"])
    assert claims["scope"] == "users:disconnect"


def test_changes_topics(clarion: Clarion, publisher: Publisher) -> None:
    publisher.answer = (200, b'{"gateways":2,"connections":3}')
    completed = clarion.run(
        "topics", "a/b", "--add", "order.42", "--add", "news", "--remove", "order.7",
        CLARION_JWT_SECRET=SECRET, CLARION_PUBLISHER_URL=publisher.url,
    )  # fmt: skip
    assert json.loads(completed.stdout) == {"gateways": 2, "connections": 3}
    ((path, headers, body),) = publisher.asked
    assert path == "/v1/users/a%2Fb/topics"
    assert json.loads(body) == {"add": ["order.42", "news"], "remove": ["order.7"]}
    claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), SECRET, ["HS256"])
    assert claims["scope"] == "users:topics"


def test_topics_need_a_topic(clarion: Clarion) -> None:
    assert "got neither" in clarion.fails("topics", "alice")
    assert "expected a topic" in clarion.fails("topics", "alice", "--add", "order.*")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b'{"gateways":2,"connections":1}',
            "changed the topics of bob: told 2 gateways to change those of 1 known connection",
        ),
        (
            b'{"gateways":1,"connections":null}',
            "changed the topics of bob: told 1 gateway; the number of connections is not known",
        ),
    ],
)
def test_a_person_reads_whose_topics_were_changed(answer: bytes, expected: str) -> None:
    said = _describe_topics("bob", msgspec.json.decode(answer, type=ConnectionsReceipt))
    assert shown(said) == [expected]


@pytest.mark.parametrize("command", ["users", "disconnect"])
def test_refuses_what_cannot_be_a_user(clarion: Clarion, command: str) -> None:
    assert clarion.run(command, "").returncode == 2


def test_a_person_reads_where_a_user_is() -> None:
    headline, _, _, first, second = shown(
        _describe_user(msgspec.json.decode(USER, type=UserPresence))
    )
    assert headline.startswith("a/b is connected: 3 connections since 2026-11-24 ")
    assert first.startswith("gateway-1 2 2026-11-24 ")
    assert second.startswith("gateway-2 1 2026-11-24 ")


def test_a_person_reads_that_a_user_is_nowhere() -> None:
    said = shown(_describe_user(msgspec.json.decode(NOBODY, type=UserPresence)))
    assert said == ["bob is not connected"]


def test_a_person_reads_what_gateways_hold() -> None:
    headline, *_, row = shown(
        _describe_connections(msgspec.json.decode(CONNECTIONS, type=AllConnections))
    )
    assert headline == "5 connections on 1 gateway: 3 authenticated, 2 anonymous"
    assert row == "gateway-1 5 3 2 1 yes"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b'{"gateways":2,"connections":1}',
            "disconnected bob: told 2 gateways to close 1 known connection",
        ),
        (
            b'{"gateways":1,"connections":0}',
            "bob was not connected as far as is known; told 1 gateway all the same",
        ),
        (
            b'{"gateways":2,"connections":null}',
            "disconnected bob: told 2 gateways; the number of connections is not known",
        ),
        (
            b'{"gateways":2}',
            "disconnected bob: told 2 gateways; the number of connections is not known",
        ),
    ],
)
def test_a_person_reads_how_many_connections_were_known(answer: bytes, expected: str) -> None:
    """Presence may lag behind, and a publisher of an earlier version does not report it."""
    receipt = msgspec.json.decode(answer, type=DisconnectReceipt)
    assert _describe_disconnect("bob", receipt).plain == expected
