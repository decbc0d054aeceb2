"""The internal port's answers."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from clarion_contract.service.internal import internal_app, service_registry
from clarion_contract.service.readiness import Health

REASONS: list[str] = []
WARNINGS: list[str] = []
READY = Gauge("clarion_ready", "1 while ready.", registry=None)


def readiness() -> Health:
    return Health(tuple(REASONS), tuple(WARNINGS))


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("clarion_things", "Things.", registry=registry).inc()
    return registry


async def get(registry: CollectorRegistry, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(internal_app(registry, readiness, READY))
    async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
        return await client.get(path, headers=headers)


async def test_metrics(registry: CollectorRegistry) -> None:
    response = await get(registry, "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert "clarion_things_total 1.0" in response.text


@pytest.mark.parametrize(("reasons", "value"), [([], "1.0"), (["redis is gone"], "0.0")])
async def test_metrics_say_what_readyz_would(
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    reasons: list[str],
    value: str,
) -> None:
    monkeypatch.setattr("tests.contract.service.test_internal.REASONS", reasons)
    registry.register(READY)
    assert f"clarion_ready {value}" in (await get(registry, "/metrics")).text


async def test_openmetrics_for_who_asks(registry: CollectorRegistry) -> None:
    response = await get(registry, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_no_series_of_creation_times(accept: str) -> None:
    registry = service_registry()
    Counter("clarion_things", "Things.", registry=registry).inc()
    Histogram("clarion_times", "Times.", registry=registry).observe(1)
    text = (await get(registry, "/metrics", accept=accept)).text
    assert "clarion_times_count 1.0" in text
    assert "_created" not in text


async def test_liveness_asks_nobody(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.contract.service.test_internal.REASONS", ["redis is gone"], raising=False
    )
    assert (await get(registry, "/healthz")).status_code == 200


async def test_readiness_says_why_not(registry: CollectorRegistry) -> None:
    ready = await get(registry, "/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
    REASONS.append("redis is gone")
    try:
        not_ready = await get(registry, "/readyz")
    finally:
        REASONS.clear()
    assert not_ready.status_code == 503
    assert not_ready.json() == {"ready": False, "reasons": ["redis is gone"]}


async def test_a_warning_does_not_make_it_unready(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.contract.service.test_internal.WARNINGS", ["redis is gone"])
    response = await get(registry, "/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "reasons": [], "warnings": ["redis is gone"]}
