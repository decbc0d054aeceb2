"""`clarion_gateway.application.context`: what a handler can do for its client."""

from __future__ import annotations

import pytest

from clarion_contract.events.audience import ALL
from clarion_contract.events.event import InvalidType
from clarion_gateway.application.scope import Scope
from clarion_gateway.wire.parts import Parts
from tests.gateway.application.host import Outbox, Peer, context


async def test_a_handlers_own_event_goes_to_everyone() -> None:
    outbox = Outbox()
    await context(outbox).publish(ALL, "news", {"a": 1})
    assert outbox.published == [(ALL, "news", b'{"a":1}', None)]


async def test_an_event_needs_a_valid_type() -> None:
    with pytest.raises(InvalidType):
        await context().publish(ALL, "two words", None)


def test_a_connection_takes_memory_for_data_only_once_a_handler_asks_for_it() -> None:
    peer = Peer()
    asked = context(peer=peer)
    assert peer.data is None
    asked.data["room"] = 7
    assert context(peer=peer).data == {"room": 7}


def test_the_state_is_what_the_lifespan_gave() -> None:
    scope = Scope()
    scope.value = "pool"
    assert context(scope=scope).state == "pool"
    assert context().state is None


def test_a_context_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        context().user = "mallory"  # type: ignore[misc]


async def test_what_is_sent_and_asked_is_json_under_a_valid_type() -> None:
    outbox = Outbox()
    await context(outbox).send("note", {"a": 1})
    assert await context(outbox).ask("sure", [1], timeout=3) == {"yes": True}
    assert outbox.sent == [("note", b'{"a":1}')]
    assert outbox.asked == [("sure", b"[1]", 3)]
    for call in (context(outbox).send, context(outbox).ask):
        with pytest.raises(InvalidType):
            await call("two words")


async def test_several_values_are_an_array_and_arguments_for_clients_that_take_them() -> None:
    outbox = Outbox()
    await context(outbox).send("photo", {"n": 1}, b"\xff")
    await context(outbox).send("nothing")
    assert outbox.sent == [("photo", b'[{"n":1},"/w=="]'), ("nothing", b"null")]
    assert outbox.parts == [None, None], "the client does not take them"
    peer = Peer(carries_parts=True)
    await context(outbox, peer=peer).send("photo", {"n": 1}, b"\xff")
    await context(outbox, peer=peer).ask("sure", b"\xff")
    await context(outbox, peer=peer).send("note", {"a": 1})
    placeholder = b'{"_placeholder":true,"num":0}'
    assert outbox.parts[2:] == [
        Parts(b'{"n":1},' + placeholder, (b"\xff",)),
        Parts(placeholder, (b"\xff",)),
        None,
    ]
    reply = context(peer=peer).reply([b"a"])
    assert (reply.data, reply.parts) == (b'["YQ=="]', Parts(b"[%b]" % placeholder, (b"a",)))
    assert context().reply([b"a"]).parts is None
