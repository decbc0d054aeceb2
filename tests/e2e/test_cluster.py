"""Two gateways and a publisher, as processes on a real cluster, while its primaries die."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion_contract.redis.keyspace import Keyspace
from tests.e2e.stack import Stack, make_stack
from tests.e2e.watch import beside
from tests.redis_topologies import Cluster, cluster, wait_until

# Of the settings below: how far back a client's position is uncertain.
OVERLAP_SECONDS = 2.5
# The witness publishes to each in turn, `user:` standing for eight users, `topic:` for three topics.
AUDIENCES = ("all", "authenticated", *["user:"] * 8, *["topic:"] * 3)


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster") as topology:
        yield topology


@pytest.fixture
def stack(topology: Cluster, tmp_path: Path, namespace: str) -> Iterator[Stack]:
    made = make_stack(
        tmp_path,
        topology.url,
        namespace,
        CLARION_WAIT_REPLICAS="1",
        GATEWAY_DRAIN_SPREAD_SECONDS="0.2",
        GATEWAY_PROBE_INTERVAL_SECONDS="0.2",
        GATEWAY_PROBE_TIMEOUT_SECONDS="1",
        GATEWAY_CLUSTER_CLOCK_SECONDS="0.3",
    )
    with made.running():
        # A position from before the data set began would be worth nothing.
        time.sleep(OVERLAP_SECONDS)
        yield made


def test_every_primary_dies_once_and_clients_change_gateways_and_nothing_is_lost(
    stack: Stack, topology: Cluster, namespace: str
) -> None:
    """Each primary returns as a replica of its successor. One gateway leaves meanwhile."""
    shared = topology.primary_of(Keyspace(namespace, clustered=True).log("all"))
    dying = [shared, *(node for node in topology.primaries if node is not shared)]
    with beside(stack) as watch:
        for number, primary in enumerate(dying):
            primary.kill()
            if number == 1:
                stack.gateways[0].terminate()
                stack.gateways[0].wait()
            topology.wait_for_failover(primary)
            primary.start()
            if number == 1:
                stack.gateways[0].start()
                stack.gateways[0].wait_until_ready()
            wait_until(topology.in_step, "replicas in step")
            watch.wait(published=len(AUDIENCES))
        stack.gateways[1].kill()
        watch.wait(published=len(AUDIENCES))
    seen = watch.seen
    assert (seen.lost, seen.misplaced, seen.foreign) == (0, 0, 0), seen
    # Clients may have heard events that only the dead primary had. These are published again, and
    # clients are told.
    assert seen.told or not seen.doubled, seen
    assert seen.reconnects >= 24
