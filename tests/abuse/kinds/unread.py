"""Live sockets that never read, while large events come in for their users."""

from __future__ import annotations

import asyncio
import contextlib

import httpx

from tests.abuse.attack import Attack, Gone

_EVENT_BYTES = 60_000
_USERS = 4


async def attack(attack: Attack) -> None:
    """Past their share they are closed; all together they stay within the pod's."""
    tokens = attack.plan.user_tokens[:_USERS]

    async def publish() -> None:
        headers = {"Authorization": f"Bearer {attack.plan.service_token}"}
        url = f"http://127.0.0.1:{attack.plan.publisher}/v1/events"
        async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
            while not attack.is_over:
                for number in range(len(tokens)):
                    user = {"user": f"mallory-{number}"}
                    event = {"audience": user, "type": "large", "data": "x" * _EVENT_BYTES}
                    with contextlib.suppress(httpx.TransportError):  # an idle connection was closed
                        response = await client.post(url, json=event)
                        attack.counts[f"published {response.status_code}"] += 1
                await asyncio.sleep(0.05)

    async def hold(number: int) -> None:
        token = tokens[number % len(tokens)]
        while not attack.is_over:
            with contextlib.suppress(Gone):
                async with attack.websocket(token=token, deaf=True) as wire:
                    await attack.until(lambda: wire.is_cut)

    async with asyncio.TaskGroup() as group:
        group.create_task(publish())
        group.create_task(attack.many(min(80 * len(tokens), attack.plan.connections), hold))
