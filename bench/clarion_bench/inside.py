"""A handler for soaks: returns a figure that only the gateway itself knows."""

import asyncio

from clarion import Context, Handlers

QUESTION = "clarion_bench.inside"

handlers = Handlers()


@handlers.on(QUESTION)
async def inside(_: bytes, __: Context) -> int:
    """The number of tasks in the gateway's event loop, including the one that answers."""
    return len(asyncio.all_tasks())
