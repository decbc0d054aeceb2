"""What an application imports: handlers for its clients' messages, and audiences to publish to.

    from clarion import Context, Handlers, Refusal, authenticated_only, propagate, user

    handlers = Handlers()

    @handlers.on("chat.direct", authenticated_only())
    async def chat_direct(message: DirectMessage, context: Context) -> ChatReply:
        await context.publish(user(message.to), "chat.direct", ...)

This package is the only stable one. Every other package whose name begins with ``clarion_`` is the
product's own and may change with any release. See docs/handlers.md.
"""

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.audience import user_audience as user
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import Published
from clarion_gateway.application.handlers import (
    Context,
    Handlers,
    Interceptor,
    Proceed,
    Refusal,
    Reply,
)
from clarion_gateway.application.interceptors import authenticated_only, propagate

__all__ = [
    "ALL",
    "AUTHENTICATED",
    "Audience",
    "BusUnavailable",
    "Context",
    "Handlers",
    "Interceptor",
    "Proceed",
    "Published",
    "Refusal",
    "Reply",
    "authenticated_only",
    "propagate",
    "user",
]
