"""What an application imports: handlers for its clients' messages, and audiences to publish to.

    from clarion import Context, Handlers, authenticated_only, user

    handlers = Handlers()

    @handlers.on("chat.direct", authenticated_only())
    async def chat_direct(message: DirectMessage, context: Context) -> ChatReply:
        reply = ChatReply(sender=context.user, text=message.text)
        await context.publish(user(message.to), "chat.direct", reply)
        return reply

This package and its modules are the only stable ones. Packages whose names begin with ``clarion_``
belong to the product and may change with any release. See docs/handlers.md.

It needs anyio, msgspec and pydantic. What the services need (Redis, HTTP, metrics, traces) comes
with the extra ``server`` and is not imported here, so that an application's own tests and tools can
import its handlers without it.
"""

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, InvalidUserId
from clarion_contract.events.audience import user_audience as user
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import InvalidType, Published
from clarion_gateway.application.handlers import (
    Context,
    Handlers,
    Interceptor,
    Proceed,
    Refusal,
    Reply,
)
from clarion_gateway.application.interceptors import Chooser, authenticated_only, propagate

__all__ = [
    "ALL",
    "AUTHENTICATED",
    "Audience",
    "BusUnavailable",
    "Chooser",
    "Context",
    "Handlers",
    "Interceptor",
    "InvalidType",
    "InvalidUserId",
    "Proceed",
    "Published",
    "Refusal",
    "Reply",
    "authenticated_only",
    "propagate",
    "user",
]
