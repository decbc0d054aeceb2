"""`clarion_gateway.application.interceptors`: the interceptors that the gateway provides."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Published
from clarion_gateway.application.answering import Interceptor, answer
from clarion_gateway.application.context import Context
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.interceptors import authenticated_only, propagate
from clarion_gateway.application.refusal import Refusal
from tests.gateway.application.host import Outbox, context


async def ask(interceptor: Interceptor, context: Context) -> bytes:
    handlers = Handlers()

    @handlers.on("a", interceptor)
    async def handler(message: Any, context: Context) -> dict[str, Any]:
        return {"echo": message}

    route = handlers.find("a")
    assert route is not None
    return (await answer(route, b'"hi"', context)).data


@pytest.mark.parametrize(
    ("to", "audience"),
    [
        ("all", ALL),
        ("authenticated", AUTHENTICATED),
        ("user", Audience("user", "alice")),
        (Audience("user", "bob"), Audience("user", "bob")),
        (Audience("topic", "order.42"), Audience("topic", "order.42")),
        (lambda context, reply: Audience("user", f"{context.user}-{len(reply.data)}"), None),
    ],
)
async def test_a_reply_is_propagated_as_it_is_and_without_its_sender(
    to: Any, audience: Audience | None
) -> None:
    outbox = Outbox()
    reply = await ask(propagate(to), context(outbox))
    assert reply == b'{"echo":"hi"}'
    expected = audience or Audience("user", "alice-13")
    assert outbox.published == [(expected, "a", reply, "connection-1")]


@pytest.mark.parametrize("history", [True, False])
async def test_a_reply_may_be_propagated_without_history(history: bool) -> None:
    outbox = Outbox()
    await ask(propagate("all", history=history), context(outbox))
    assert outbox.histories == [history]


async def test_the_sender_learns_that_nobody_will_hear_the_message() -> None:
    class Down(Outbox):
        async def publish(self, *args: Any, **kwargs: Any) -> Published:
            raise BusUnavailable("down")

    with pytest.raises(BusUnavailable):
        await ask(propagate("all"), context(Down()))


async def test_authenticated_only() -> None:
    assert await ask(authenticated_only(), context(user="alice")) == b'{"echo":"hi"}'
    with pytest.raises(Refusal) as refused:
        await ask(authenticated_only(), context(user=None))
    assert refused.value.code == "unauthenticated"


async def test_what_goes_to_the_senders_user_needs_one() -> None:
    outbox = Outbox()
    with pytest.raises(Refusal) as refused:
        await ask(propagate("user"), context(outbox, user=None))
    assert refused.value.code == "unauthenticated"
    assert outbox.published == []


def test_an_unknown_audience_is_refused_at_import() -> None:
    with pytest.raises(ValueError, match="one of all, authenticated, user; got 'everyone'"):
        propagate("everyone")  # type: ignore[arg-type]
