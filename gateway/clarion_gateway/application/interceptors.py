"""Interceptors that come with the gateway: what happens to a handler's reply besides being sent.

`propagate` is the reason why handlers scale over pods: the reply goes through Redis to every
instance, byte for byte as the sender gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_gateway.application.handlers import Context, Interceptor, Proceed, Refusal, Reply

Chooser = Callable[[Context, Reply], Audience]


def propagate(to: Literal["all", "authenticated"] | Audience | Chooser) -> Interceptor:
    """Publish the reply to an audience on every instance, without the sender's own connection.

    The sender gets the reply only once it is published: nobody believes to have said what none of
    the others will hear.

    Args:
        to: an audience, or a function that picks one by context and reply.
    """
    named = {"all": ALL, "authenticated": AUTHENTICATED}

    async def interceptor(context: Context, proceed: Proceed) -> None:
        reply = await proceed()
        if isinstance(to, str):
            audience = named[to]
        elif isinstance(to, Audience):
            audience = to
        else:
            audience = to(context, reply)
        await context.propagate(audience, reply)

    return interceptor


def authenticated_only() -> Interceptor:
    """Refuse messages of anonymous connections before the handler sees them."""

    async def interceptor(context: Context, proceed: Proceed) -> None:
        if context.user is None:
            raise Refusal("unauthenticated", "expected a logged-in sender")
        await proceed()

    return interceptor
