"""The chat example over two gateways."""

from __future__ import annotations

import pytest

from clarion_examples.chat import session
from tests.e2e.client import opened
from tests.e2e.stack import Stack


async def test_the_session_that_its_readme_shows(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    await session.run(stack.token("alice"), stack.token("bob"), (first, second))
    said = capsys.readouterr().out
    assert "alice  is at gateway-1 as alice" in said
    assert "guest  hears  chat.message {'sender': 'alice', 'text': 'Good morning'" in said


async def test_all_but_the_sending_socket_hear_it_once(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    token = stack.token("alice")
    async with (
        opened(first, token) as sender,
        opened(first, token) as own_other_tab,
        opened(second) as guest,
    ):
        await sender.send(kind="message", ref=7, type="chat.message", data={"text": " hi "})
        reply = await sender.receive()
        assert (reply["kind"], reply["ref"]) == ("reply", 7)
        assert (reply["data"]["sender"], reply["data"]["text"]) == ("alice", "hi")
        await stack.publish("all", "the.end")
        assert [event["type"] for event in await sender.events_until("the.end")] == ["the.end"]
        for other in (own_other_tab, guest):
            message, _ = await other.events_until("the.end")
            assert message["type"] == "chat.message"
            assert message["data"] == reply["data"]


async def test_the_sender_does_not_get_it_by_resuming_either(stack: Stack) -> None:
    first, second = (gateway.url for gateway in stack.gateways)
    async with opened(first) as sender:
        position = sender.welcome["id"]
        connection = sender.welcome["connection"]
        await sender.send(kind="message", ref=1, type="chat.message", data={"text": "hi"})
        assert (await sender.receive())["kind"] == "reply"
    async with opened(second, since=position, connection=connection) as sender:
        await stack.publish("all", "the.end")
        assert [event["type"] for event in await sender.events_until("the.end")] == ["the.end"]


@pytest.mark.parametrize(
    ("type_", "data", "code"),
    [
        ("chat.message", {"text": "  "}, "invalid"),
        ("chat.message", {}, "invalid"),
        ("chat.direct", {"to": "alice", "text": "hi"}, "to_yourself"),
        ("chat.unknown", {}, "unknown_type"),
    ],
)
async def test_what_does_not_fit_is_refused_to_the_sender(
    stack: Stack, type_: str, data: dict[str, str], code: str
) -> None:
    async with opened(stack.gateways[0].url, stack.token("alice")) as alice:
        await alice.send(kind="message", ref=1, type=type_, data=data)
        error = await alice.receive()
    assert (error["kind"], error["ref"], error["code"]) == ("error", 1, code)


async def test_only_who_is_logged_in_writes_to_one_user(stack: Stack) -> None:
    async with opened(stack.gateways[0].url) as guest:
        await guest.send(
            kind="message", ref=1, type="chat.direct", data={"to": "alice", "text": "hi"}
        )
        assert (await guest.receive())["code"] == "unauthenticated"
