"""The last release and the checkout on one Redis: pods are replaced one by one, under traffic.

First every pod becomes the checkout, as in an upgrade; then the last release again, as in a
roll-back. Each mixture is examined. A change to data in Redis or on its channels fails here if a
pod of the last release cannot read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.watch import beside
from tests.redis_topologies import cluster
from tests.upgrade.examination import Examination
from tests.upgrade.fleet import Fleet, make_fleet
from tests.upgrade.releases import Release, unpack
from tests.valkey import Valkey


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return unpack(tmp_path_factory.mktemp("release"))


@pytest.fixture(params=["one Redis", "a cluster"])
def fleet(
    request: pytest.FixtureRequest,
    shared_valkey: Valkey,
    tmp_path: Path,
    namespace: str,
    release: Release,
) -> Iterator[Fleet]:
    if request.param == "one Redis":
        made = make_fleet(tmp_path, shared_valkey.url, namespace, release)
        with made.running():
            yield made
        return
    with cluster(tmp_path / "cluster") as topology:
        made = make_fleet(
            tmp_path, topology.url, namespace, release, GATEWAY_CLUSTER_CLOCK_SECONDS="0.3"
        )
        with made.running():
            yield made


@pytest.mark.timeout(600)
async def test_a_roll_out_and_its_roll_back_lose_nothing(fleet: Fleet) -> None:
    examination = Examination(fleet)
    steps = [*((pod, pod.new) for pod in fleet.pods), *((pod, pod.old) for pod in fleet.pods)]
    try:
        with beside(fleet.stack, "--publisher", fleet.second.url, "--no-topics") as watch:
            await examination.round()
            for pod, program in steps:
                await asyncio.to_thread(pod.replace, program)
                await examination.round()
    finally:
        await examination.aclose()
    seen = watch.seen
    assert seen.nothing_lost(), seen
    assert seen.expected > seen.published > 0
    assert seen.pods == ["gateway-1", "gateway-2"]
    assert seen.reconnects >= 2 * 24, "every client was sent elsewhere, up and down"
