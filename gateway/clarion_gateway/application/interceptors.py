"""The interceptors that come with the gateway.

`propagate` publishes a handler's reply. It goes through Redis to all pods, byte for byte as the
sender gets it, so handlers need not know on which pod the recipients are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, user_audience
from clarion_gateway.application.answering import Interceptor, Proceed
from clarion_gateway.application.context import Context, Reply
from clarion_gateway.application.refusal import Refusal

Chooser = Callable[[Context, Reply], Audience]

_SHARED: Final = {"all": ALL, "authenticated": AUTHENTICATED}
_USER: Final = "user"
_NAMES: Final = (*_SHARED, _USER)
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
    if isinstance(to, str) and to not in _NAMES:
        expected = ", ".join(sorted(_NAMES))
        raise ValueError(f"expected an audience, a function, or one of {expected}; got {to!r}")
    return Propagation(to, history=history)


@dataclass(frozen=True, slots=True)
class Propagation:
    """The interceptor that `propagate` makes; its attributes are that function's arguments."""

    to: str | Audience | Chooser
    history: bool

    async def __call__(self, context: Context, proceed: Proceed) -> None:
        """Publish the reply of the handler."""
        sender = context.user
        if self.to == _USER and sender is None:
            raise Refusal("unauthenticated", _NO_USER)
        reply = await proceed()
        await context.propagate(self._audience(context, reply, sender), reply, history=self.history)

    def _audience(self, context: Context, reply: Reply, sender: str | None) -> Audience:
        if isinstance(self.to, Audience):
            return self.to
        if not isinstance(self.to, str):
            return self.to(context, reply)
        return _SHARED[self.to] if self.to in _SHARED else user_audience(sender or "")


def authenticated_only() -> Interceptor:
    """Refuse messages of anonymous connections before the handler runs.

    @handlers.on("order.place", authenticated_only())
    """

    async def interceptor(context: Context, proceed: Proceed) -> None:
        if context.user is None:
            raise Refusal("unauthenticated", _NO_USER)
        await proceed()

    return interceptor
