"""Jobs that run side by side until one of them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def until_one_ends(*jobs: Coroutine[None, None, None]) -> None:
    """Run jobs; when one ends, end the others, and raise what it raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
