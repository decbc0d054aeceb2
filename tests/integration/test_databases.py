"""Two installations with the same namespace, on two databases of one Redis, share nothing."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.orders import Disconnect, Orders
from clarion_contract.events.audience import user_audience
from tests.integration.pod import started, token
from tests.integration.sockets import opened


def on_database(url: str, number: int) -> str:
    return urlsplit(url)._replace(path=f"/{number}").geturl()


async def test_neither_events_nor_orders_cross_from_one_database_to_another(
    redis_url: str, namespace: str
) -> None:
    staging_url = on_database(redis_url, 1)
    async with (
        started(on_database(redis_url, 0), namespace, pod="production") as production,
        started(staging_url, namespace, pod="staging") as staging,
        opened(production, token=token("alice")) as here,
        opened(staging, token=token("alice")) as there,
    ):
        await staging.publish(data=b'"of staging"')
        await staging.publish(user_audience("alice"), data=b'"of staging"')
        assert [each["data"] for each in await there.events(2)] == ["of staging", "of staging"]

        redis = redis_from_url(staging_url)
        bus = Bus(redis, staging.settings.keyspace, staging.settings.history)
        orders = Orders(bus, staging.settings.keyspace, max_orders=10)
        await orders.give([Disconnect("n", "alice", "bye", False, time.time() + 60)])
        assert await there.closed() == (4403, "bye")
        await bus.aclose()

        # Everything of staging has been published before this, and would have come before it.
        await production.publish(data=b'"of production"')
        assert (await here.receive("event"))["data"] == "of production"
