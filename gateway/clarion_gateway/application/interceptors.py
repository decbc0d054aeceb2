"""The interceptors that come with the gateway.

`propagate` publishes a handler's reply. It goes through Redis to all pods, byte for byte as the
sender gets it, so handlers need not know on which pod the recipients are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_gateway.application.answering import Interceptor, Proceed
from clarion_gateway.application.context import Context, Reply
from clarion_gateway.application.refusal import Refusal

Chooser = Callable[[Context, Reply], Audience]

_NAMED: Final = {"all": ALL, "authenticated": AUTHENTICATED}
_NO_USER: Final = "expected a logged-in sender"


def propagate(
    to: Literal["all", "authenticated", "user"] | Audience | Chooser, *, history: bool = True
) -> Interceptor:
    """Publish the reply to an audience on all pods, except to the sender's own connection.

        @handlers.on("chat.message", propagate(to="all"))

    The sender gets the reply only once it is published. So a sender that sees its reply knows that
    the others will see it too.

    Args:
        to: an audience, or a function that chooses one by context and reply. ``"user"`` is the
            sender's own user on other connections, such as other tabs and devices; an anonymous
            sender is refused before the handler runs.
        history: whether clients that come back later get the event, see `Context.publish`.

    Raises:
        ValueError: ``to`` is a text that names no audience.
    """
    if to == "user":
        return _propagate_to_user(history=history)
    if isinstance(to, str) and to not in _NAMED:
        expected = ", ".join(sorted([*_NAMED, "user"]))
        raise ValueError(f"expected an audience, a function, or one of {expected}; got {to!r}")

    async def interceptor(context: Context, proceed: Proceed) -> None:
        reply = await proceed()
        if isinstance(to, str):
            audience = _NAMED[to]
        elif isinstance(to, Audience):
            audience = to
        else:
            audience = to(context, reply)
        await context.propagate(audience, reply, history=history)

    return interceptor


def _propagate_to_user(*, history: bool) -> Interceptor:
    async def interceptor(context: Context, proceed: Proceed) -> None:
        if context.user is None:
            raise Refusal("unauthenticated", _NO_USER)
        audience = user_audience(context.user)
        await context.propagate(audience, await proceed(), history=history)

    return interceptor


def authenticated_only() -> Interceptor:
    """Refuse messages of anonymous connections before the handler runs.

    @handlers.on("order.place", authenticated_only())
    """

    async def interceptor(context: Context, proceed: Proceed) -> None:
        if context.user is None:
            raise Refusal("unauthenticated", _NO_USER)
        await proceed()

    return interceptor
