"""Gateways are added under load, by CPU and by connections."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import MINUTE, RELEASE, Cluster, eventually

pytestmark = pytest.mark.timeout(20 * MINUTE)

FEWEST = 2
AUTOSCALING = (
    "gateway.autoscaling.enabled=true",
    f"gateway.autoscaling.minReplicas={FEWEST}",
    "gateway.autoscaling.maxReplicas=4",
)


def replicas(cluster: Cluster) -> int:
    return int(cluster.get("deployment", f"{RELEASE}-gateway")["spec"]["replicas"])


def autoscaler(cluster: Cluster) -> str:
    """The autoscaler's reasons."""
    return cluster.run("describe", "hpa", f"{RELEASE}-gateway")


def check_pods_are_added(cluster: Cluster, *crowd: str) -> None:
    """This crowd makes the autoscaler add pods, and loses nothing meanwhile."""
    cluster.call_witness()
    with cluster.watched(*crowd) as watch:
        eventually(
            lambda: replicas(cluster) > FEWEST,
            seconds=6 * MINUTE,
            what=lambda: autoscaler(cluster),
        )
        cluster.rolled_out()
    assert watch.seen.nothing_lost(), watch.seen


def test_cpu_adds_pods(empty_cluster: Cluster) -> None:
    """The request is 20m, the target half of it: idle gateways stay below, busy ones above."""
    cluster = empty_cluster
    if not cluster.serves("/apis/metrics.k8s.io/v1beta1/nodes"):
        pytest.skip("the cluster has no metrics-server")
    cluster.install(
        [
            *AUTOSCALING,
            "gateway.resources.requests.cpu=20m",
            "gateway.autoscaling.cpu.targetPercent=50",
        ]
    )
    check_pods_are_added(cluster, "--clients", "120", "--rate", "500")


def test_connections_add_pods(empty_cluster: Cluster) -> None:
    """Idle connections cost almost no CPU. There are 70, with a target of 20 per pod."""
    cluster = empty_cluster
    has_operator = cluster.serves("/apis/monitoring.coreos.com/v1")
    cluster.install(
        [
            *AUTOSCALING,
            "gateway.autoscaling.connections.enabled=true",
            "gateway.autoscaling.connections.targetPercent=50",
            "gateway.settings.GATEWAY_MAX_CONNECTIONS=40",
            f"metrics.podMonitor.enabled={str(has_operator).lower()}",
        ]
    )
    metric = (
        f"/apis/custom.metrics.k8s.io/v1beta1/namespaces/{cluster.namespace}"
        "/pods/*/clarion_connections"
    )
    deadline = time.monotonic() + 3 * MINUTE  # for Prometheus to find the pods
    while not cluster.serves(metric):
        if time.monotonic() > deadline:
            pytest.skip("no prometheus-adapter serves clarion_connections in this cluster")
        time.sleep(5)
    check_pods_are_added(cluster, "--clients", "70", "--rate", "1")
