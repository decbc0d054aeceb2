"""The capacity section shows what its formulas give, and its defaults are those of the chart."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from clarion_gateway.settings import GatewaySettings
from deploy.helm.pages import VALUES
from docs import capacity
from docs.curves import largest
from docs.figures import FIGURES

IDLE = capacity.IDLE_POD_BYTES


def values() -> dict[str, Any]:
    gateway: dict[str, Any] = yaml.safe_load(VALUES.read_text())["gateway"]
    return gateway


def test_the_page_holds_the_tables() -> None:
    """If it fails: python -m docs.capacity."""
    text = capacity.PAGE.read_text()
    assert text == capacity.page(text)


def test_it_rests_on_the_charts_defaults() -> None:
    gateway = values()
    settings = gateway["settings"]
    share = gateway["autoscaling"]["connections"]["targetPercent"]
    drain = sum(settings[f"GATEWAY_DRAIN_{part}_SECONDS"] for part in ("PAUSE", "SPREAD", "GRACE"))
    resources = gateway["resources"]
    assert settings["GATEWAY_MAX_CONNECTIONS"] == capacity.MAX_CONNECTIONS
    assert settings["GATEWAY_MAX_CONNECTIONS"] * share // 100 == capacity.CONNECTIONS_PER_POD
    assert settings["GATEWAY_DRAIN_SPREAD_SECONDS"] == capacity.SPREAD_SECONDS
    assert gateway["autoscaling"]["cpu"]["targetPercent"] == capacity.CPU_TARGET * 100
    assert GatewaySettings.model_fields["replay_max_bytes"].default == capacity.RING_BYTES
    assert gateway["rollout"]["minReadySeconds"] == capacity.MIN_READY_SECONDS
    assert drain == capacity.DRAIN_SECONDS
    assert resources["requests"]["cpu"] == f"{capacity.REQUESTED_CORES * 1000:.0f}m"
    assert resources["limits"]["memory"] == f"{capacity.LIMIT_BYTES // 2**30}Gi"


@pytest.mark.parametrize("connections", capacity.FLEETS)
def test_a_pod_has_room_for_what_is_reckoned(connections: int) -> None:
    """The memory and CPU that it needs stay below the chart's requests and limits."""
    total = capacity.pods(connections)
    assert connections / total <= capacity.CONNECTIONS_PER_POD
    assert capacity.used_bytes(connections) / total < capacity.LIMIT_BYTES / 2
    assert capacity.busy_cores(connections, 1) / total < capacity.REQUESTED_CORES


@pytest.mark.parametrize(
    ("reckoned", "by_hand"),
    [
        (capacity.pods(1_000_000), 72),
        (capacity.pods(1), 2),
        (capacity.busy_cores(1_000_000, 2), 2 * capacity.DELIVERY_US),
        (capacity.used_bytes(10_000), 2 * (IDLE + 67_108_864) + 10_000 * capacity.CONNECTION_BYTES),
        (
            capacity.redis_events_per_second(1_000_000),
            1e6 / (capacity.PUBLISH_US + 72 * capacity.PUBLISH_PER_POD_US),
        ),
        (capacity.return_seconds(100_000, 2), 25_000 / (6 * capacity.HANDSHAKES_PER_SECOND)),
        (capacity.rollout_seconds(100_000, 1), 8 * 20 + 30),
        (capacity.rollout_seconds(1_000_000, capacity.surge_of(1_000_000)), 9 * 20 + 30),
    ],
)
def test_formulas(reckoned: float, by_hand: float) -> None:
    """With the constants as they are: a newer run of `clarion bench growth` changes only these."""
    assert reckoned == pytest.approx(by_hand)


def test_the_page_says_how_far_the_measurements_reach() -> None:
    """Each curve's largest size stands beside what it counts."""
    text = " ".join(capacity.section().split())
    for curve, words in {
        "delivery_us": "sockets on one gateway for a delivery",
        "socket_bytes": "for its memory",
        "redis_single_us": "gateways on one Redis",
        "redis_us": "subscribed connections",
        "stream_bytes": "users' streams",
    }.items():
        assert f" {largest(FIGURES['growth'][curve]):,} {words}" in text
