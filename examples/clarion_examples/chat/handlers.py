"""A chat's handlers: a message reaches every client, whichever gateway the client is on.

A gateway mounts them with ``GATEWAY_HANDLERS=clarion_examples.chat.handlers:handlers``. README.md
beside this file explains them line by line.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, StringConstraints

from clarion import Context, Handlers, Refusal, authenticated_only, propagate, user

handlers = Handlers()

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]


class ChatMessage(BaseModel):
    """A client's message to everybody."""

    text: Text


class ChatReply(BaseModel):
    """The event that everybody receives, and the sender's reply."""

    sender: str
    text: str
    said_at: datetime


class DirectMessage(ChatMessage):
    """A client's message to one user."""

    to: Annotated[str, StringConstraints(min_length=1, max_length=64)]


@handlers.on("chat.message", propagate(to="all"))
async def chat_message(message: ChatMessage, context: Context) -> ChatReply:
    """Publish a message to everybody; a client that is not logged in appears as a guest."""
    sender = context.user or f"guest-{context.connection[:4]}"
    return ChatReply(sender=sender, text=message.text, said_at=datetime.now(UTC))


@handlers.on("chat.direct", authenticated_only())
async def chat_direct(message: DirectMessage, context: Context) -> ChatReply:
    """Publish a message to every device of one user, and to nobody else."""
    if message.to == context.user:
        raise Refusal("to_yourself", "expected somebody else to write to")
    reply = ChatReply(sender=context.user or "", text=message.text, said_at=datetime.now(UTC))
    await context.publish(user(message.to), "chat.direct", reply)
    return reply
