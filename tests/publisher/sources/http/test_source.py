"""HTTP as a source: it serves until cancelled, then finishes the current requests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from clarion_contract.events.event import Published
from clarion_contract.identity.tokens import verifier_of
from clarion_contract.service.serving import bind
from clarion_publisher.app import _port as publisher_port
from clarion_publisher.metrics import Metrics
from clarion_publisher.settings import PublisherSettings
from clarion_publisher.sources.http.callers import Callers
from clarion_publisher.sources.http.dependencies import Services
from clarion_publisher.sources.http.exchange import Bodies
from clarion_publisher.sources.http.source import HttpSource
from tests.conftest import SECRET
from tests.publisher.service import bearer
from tests.valkey import free_port

EVENT = {"audience": "all", "type": "t", "data": 1}


class SlowIngestion:
    """Publishes when the test allows it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def publish(self, caller: Any, events: Any, *, traceparent: Any = None) -> Any:
        self.asked.set()
        await self.go_on.wait()
        return [Published(1, False, 0) for _ in events]


def source_on(port: Any, **settings: Any) -> HttpSource:
    built = PublisherSettings(**{"jwt_secret": SECRET, **settings})
    keys, verifier = verifier_of(built)
    metrics = Metrics(CollectorRegistry())
    services = Services(
        None,  # type: ignore[arg-type]  # these tests only publish
        Callers(verifier, metrics),
        Bodies(max_bytes=1_000, total_max_bytes=1_000),
        metrics,
        None,  # type: ignore[arg-type]
    )
    return HttpSource(built, port, publisher_port(built, metrics), services, keys, lambda: False)


async def test_cancelled_it_finishes_the_request_under_way() -> None:
    ingestion = SlowIngestion()
    with contextlib.closing(bind("127.0.0.1", 0)) as port:
        running = asyncio.create_task(source_on(port).run(ingestion))  # type: ignore[arg-type]
        url = f"http://127.0.0.1:{port.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            answer = asyncio.create_task(client.post("/v1/events", json=EVENT, headers=bearer()))
            await ingestion.asked.wait()
            running.cancel()
            done, _ = await asyncio.wait([running], timeout=0.3)
            assert not done
            ingestion.go_on.set()
            assert (await answer).status_code == 201
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_unknown_keys_are_an_obstacle() -> None:
    with contextlib.closing(bind("127.0.0.1", 0)) as port:
        assert source_on(port).obstacles() == ()
        url = f"http://127.0.0.1:{free_port()}/jwks"
        unknown = source_on(port, jwt_secret=None, jwt_jwks_url=url)
        assert unknown.obstacles() == ("no keys from CLARION_JWT_JWKS_URL: not fetched yet",)
