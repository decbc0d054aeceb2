"""The chat, and a handler that talks back to the client."""

from __future__ import annotations

from clarion import Context, Handlers
from clarion_examples.chat.handlers import handlers as chat

handlers = Handlers()
handlers.include(chat)


@handlers.on("ask.back")
async def ask_back(text: str, context: Context) -> object:
    """Send the client a note, ask it, and reply with its answer."""
    await context.send("note", text)
    return await context.ask("confirm", {"text": text}, timeout=8)
