"""All clients at once that make a gateway hold memory: together they fill every budget."""

from __future__ import annotations

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.kinds import fragments, inboxes, messages, resumes, said, unread, unread_resumes


async def attack(attack: Attack) -> None:
    """Each budget holds while the others are full."""
    async with asyncio.TaskGroup() as group:
        for kind in (fragments, inboxes, messages, resumes, said, unread, unread_resumes):
            group.create_task(kind.attack(attack))
