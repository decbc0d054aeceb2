"""The package for applications: handlers for clients' messages, and audiences to publish to.

    from clarion import Context, Handlers, authenticated_only, user

    handlers = Handlers()

    @handlers.on("chat.direct", authenticated_only())
    async def chat_direct(message: DirectMessage, context: Context) -> ChatReply:
        reply = ChatReply(sender=context.user, text=message.text)
        await context.publish(user(message.to), "chat.direct", reply)
        return reply

Applications may rely on this package, `clarion.publisher`, `clarion.client`, `clarion.testing` and
`clarion.pytest_plugin`. Modules inside them, and packages whose names begin with ``clarion_``, are
internal and may change with any release. See docs/handlers.md.

The packages that the services need (Redis, metrics, traces) come with the extra ``server``. They
are not imported here, so an application's own tests and tools can import its handlers without them.
"""

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, InvalidUserId
from clarion_contract.events.audience import topic_audience as topic
from clarion_contract.events.audience import user_audience as user
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.event import InvalidEvent, InvalidType, Published
from clarion_contract.events.topic import InvalidTopic
from clarion_contract.texts.piece import InvalidText
from clarion_contract.texts.writer import TextEnded, TextWriter
from clarion_gateway.application.answering import Interceptor, Proceed
from clarion_gateway.application.context import (
    ConnectContext,
    Context,
    DisconnectContext,
    Reply,
    SubscribeContext,
)
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.application.interceptors import Chooser, authenticated_only, propagate
from clarion_gateway.application.refusal import AskFailed, Refusal

__all__ = [
    "ALL",
    "AUTHENTICATED",
    "AskFailed",
    "Audience",
    "BusUnavailable",
    "Chooser",
    "ConnectContext",
    "Context",
    "DisconnectContext",
    "Handlers",
    "Interceptor",
    "InvalidEvent",
    "InvalidText",
    "InvalidTopic",
    "InvalidType",
    "InvalidUserId",
    "Proceed",
    "Published",
    "Refusal",
    "Reply",
    "SubscribeContext",
    "TextEnded",
    "TextWriter",
    "authenticated_only",
    "propagate",
    "topic",
    "user",
]
