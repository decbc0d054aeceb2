"""Metrics and health are served only on the internal port."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.client import opened
from tests.e2e.stack import Stack

PATHS = ("/metrics", "/healthz", "/readyz")


@pytest.mark.parametrize("path", PATHS)
def test_every_service_answers_on_its_internal_port(stack: Stack, path: str) -> None:
    for service in stack.services:
        response = httpx.get(service.internal_url + path, trust_env=False)
        assert response.status_code == 200, service.program.name


@pytest.mark.parametrize("path", PATHS)
def test_no_service_answers_on_its_public_port(stack: Stack, path: str) -> None:
    for service in stack.services:
        response = httpx.get(service.url + path, trust_env=False)
        assert response.status_code == 404, service.program.name


async def test_connections_show_in_the_metrics_of_their_gateway(stack: Stack) -> None:
    async with opened(stack.gateways[0].url), httpx.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(f"{stack.gateways[0].internal_url}/metrics")).text
    held = [line for line in metrics.splitlines() if line.startswith("clarion_connections{")]
    assert sum(float(line.rpartition(" ")[2]) for line in held) >= 1


def test_a_gateway_without_connections_says_so(stack: Stack) -> None:
    """As zeros: an autoscaler that finds no number would never scale down."""
    metrics = httpx.get(f"{stack.gateways[0].internal_url}/metrics", trust_env=False).text
    held = {
        line.rpartition(" ")[0] for line in metrics.splitlines() if "clarion_connections{" in line
    }
    assert held == {
        f'clarion_connections{{identity="{identity}",wire="{wire}"}}'
        for identity in ("anonymous", "authenticated")
        for wire in ("websocket", "websocket-deflate", "sse", "socketio")
    }


def test_metrics_name_nothing_that_a_client_can_make_up(stack: Stack) -> None:
    for service in stack.services:
        metrics = httpx.get(f"{service.internal_url}/metrics", trust_env=False).text
        for user in ("alice", "dora", "to.alice"):
            assert user not in metrics
