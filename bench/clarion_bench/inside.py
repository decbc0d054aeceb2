"""What only a gateway knows of itself, asked over one of its own sockets: a handler for soaks."""

import asyncio

from clarion import Context, Handlers

QUESTION = "clarion_bench.inside"

handlers = Handlers()


@handlers.on(QUESTION)
async def inside(_: bytes, __: Context) -> int:
    """Tasks of the gateway's event loop, the one that answers included."""
    return len(asyncio.all_tasks())
