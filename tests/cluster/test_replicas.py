"""The number of pods, as a real API server has it after helm's installs, upgrades and roll-backs.

Needs the API only: no image, no node. An autoscaler's change is made as it makes it, through the
subresource `scale`. ``KUBECONFIG=… pytest tests/cluster/test_replicas.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.helm.pages import CHART
from tests.chart.helm import WHEELS, Unavailable, find_helm, find_kubectl
from tests.cluster.cluster import MINUTE, RELEASE, Cluster
from tests.cluster.conftest import bare_namespace

pytestmark = pytest.mark.timeout(5 * MINUTE)

FEWEST = 3


@pytest.fixture(params=sorted(WHEELS))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """An installed release, with each helm."""
    try:
        helm = find_helm(request.param)
    except Unavailable as error:
        pytest.skip(str(error))
    with bare_namespace(Cluster(find_kubectl(), helm, "", tmp_path)) as cluster:
        values = CHART / "ci" / "trial-values.yaml"
        fewest = f"gateway.autoscaling.minReplicas={FEWEST}"
        cluster.release(
            "install", RELEASE, str(CHART), "--values", str(values), "--set", fewest, wait=False
        )
        yield cluster


def replicas(cluster: Cluster) -> int:
    return int(cluster.get("deployment", f"{RELEASE}-gateway")["spec"]["replicas"])


def scale(cluster: Cluster, number: int) -> None:
    cluster.run("scale", f"deployment/{RELEASE}-gateway", f"--replicas={number}")


def upgrade(cluster: Cluster, *changes: str) -> int:
    sets = [part for change in changes for part in ("--set", change)]
    cluster.release("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", *sets, wait=False)
    return replicas(cluster)


def test_from_the_first_install_to_the_last_switch(cluster: Cluster) -> None:
    assert replicas(cluster) == FEWEST
    scale(cluster, 7)
    assert upgrade(cluster) == 7
    scale(cluster, 9)
    assert upgrade(cluster, "gateway.autoscaling.enabled=false") == 9
    assert upgrade(cluster, "gateway.podLabels.tier=edge") == 9
    assert upgrade(cluster, "gateway.autoscaling.enabled=true") == 9


def test_switching_on_keeps_a_fixed_number(cluster: Cluster) -> None:
    fixed = ("gateway.autoscaling.enabled=false", "gateway.replicas=5")
    assert upgrade(cluster, *fixed) == 5
    assert upgrade(cluster, "gateway.autoscaling.enabled=true") == 5


def test_a_paused_autoscaler_stays_paused(cluster: Cluster) -> None:
    scale(cluster, 0)
    assert upgrade(cluster) == 0


def test_helm_4_rolls_back_without_touching_the_number(cluster: Cluster) -> None:
    """helm 3 writes the number of the old revision; docs/kubernetes.md says what to do instead."""
    if "v32" in str(cluster.helm.binary):
        pytest.skip("helm 3 cannot")
    scale(cluster, 7)
    upgrade(cluster)
    upgrade(cluster, "gateway.podLabels.tier=edge")
    scale(cluster, 11)
    cluster.release("rollback", RELEASE, wait=False)
    assert replicas(cluster) == 11
