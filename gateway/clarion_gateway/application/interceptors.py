"""The interceptors that come with the gateway.

`propagate` publishes a handler's reply. It goes through Redis to all pods, byte for byte as the
sender gets it, so handlers need not know on which pod the recipients are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_gateway.application.handlers import Context, Interceptor, Proceed, Refusal, Reply

Chooser = Callable[[Context, Reply], Audience]


def propagate(to: Literal["all", "authenticated"] | Audience | Chooser) -> Interceptor:
    """Publish the reply to an audience on all pods, except to the sender's own connection.

        @handlers.on("chat.message", propagate(to="all"))

    The sender gets the reply only once it is published. So a sender that sees its reply knows that
    the others will see it too.

    Args:
        to: an audience, or a function that chooses one by context and reply.
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
    """Refuse messages of anonymous connections before the handler runs.

    @handlers.on("order.place", authenticated_only())
    """

    async def interceptor(context: Context, proceed: Proceed) -> None:
        if context.user is None:
            raise Refusal("unauthenticated", "expected a logged-in sender")
        await proceed()

    return interceptor
