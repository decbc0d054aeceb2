"""`clarion_gateway.application.context`: what a handler can do for its client."""

from __future__ import annotations

import pytest

from clarion_contract.events.audience import ALL
from clarion_contract.events.event import InvalidType
from clarion_gateway.application.scope import Scope
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
    assert await context(outbox).ask("sure", [1], 3) == {"yes": True}
    assert outbox.sent == [("note", b'{"a":1}')]
    assert outbox.asked == [("sure", b"[1]", 3)]
    for call in (context(outbox).send, context(outbox).ask):
        with pytest.raises(InvalidType):
            await call("two words")
