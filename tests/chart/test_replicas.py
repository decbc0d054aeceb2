"""The number of pods never falls below what runs, whoever owns it: the values or an autoscaler.

Kubernetes takes a Deployment without `replicas`, or from which helm removes it, for one pod.
`tests/cluster/test_replicas.py` shows the same with a real API server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chart.api_server import api_server, autoscaler, deployment
from tests.chart.helm import Helm, Object
from tests.chart.test_schema import TRIAL

ON = "gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=3"
OFF = "gateway.autoscaling.enabled=false,gateway.replicas=2"
HPA = autoscaler("release-clarion-gateway")
KEDAS = autoscaler("keda-hpa-release-clarion-gateway")
LEFT = "clarion/replicas-of-autoscaler"

Upgrade = Callable[..., Object]


@pytest.fixture
def upgrade(each_helm: Helm, tmp_path: Path) -> Iterator[Upgrade]:
    """Renders an upgrade of a release in a cluster with these objects; gives the Deployment."""
    with ExitStack() as servers:

        def render(values: str, *objects: Object) -> Object:
            config = servers.enter_context(api_server(tmp_path, *objects))
            rendered = each_helm.render(
                *TRIAL, "--set", values,
                "--dry-run=server", "--is-upgrade", "--disable-openapi-validation",
                "--kubeconfig", str(config),
            )  # fmt: skip
            return rendered.the("Deployment", "gateway")

        yield render


def replicas(found: Object) -> int:
    return int(found["spec"]["replicas"])


def left(found: Object) -> str | None:
    return found["metadata"].get("annotations", {}).get(LEFT)


@pytest.mark.parametrize("component", ["gateway", "publisher"])
def test_a_first_install_has_the_fewest_pods_that_its_autoscaler_allows(
    each_helm: Helm, component: str
) -> None:
    """An autoscaler would need a quarter of a minute to get there."""
    fewest = f"{component}.autoscaling.minReplicas=4"
    assert replicas(each_helm.render(*TRIAL, "--set", fewest).the("Deployment", component)) == 4


@pytest.mark.parametrize("running", [3, 7, 40])
@pytest.mark.parametrize("objects", [[], [HPA], [KEDAS]], ids=["switched on", "HPA", "KEDA"])
def test_what_an_autoscaler_made_stays(
    upgrade: Upgrade, running: int, objects: list[Object]
) -> None:
    assert replicas(upgrade(ON, deployment("gateway", running), *objects)) == running


def test_helm_4_leaves_the_number_to_the_autoscaler_that_has_changed_it(upgrade: Upgrade) -> None:
    """Otherwise its roll-back would end in a conflict, or take the number of an old revision."""
    for running in (0, 1, 9):
        scaled = deployment("gateway", running, applied=True, scaled=True)
        assert "replicas" not in upgrade(ON, scaled, HPA)["spec"]
    assert replicas(upgrade(ON, deployment("gateway", 9, applied=True), HPA)) == 9


def test_helm_3_must_go_on_writing_the_number(upgrade: Upgrade) -> None:
    """It takes a number that is in the last revision and not in this one for one to delete."""
    assert replicas(upgrade(ON, deployment("gateway", 9, scaled=True), HPA)) == 9


def test_switching_on_raises_to_the_minimum(upgrade: Upgrade) -> None:
    assert replicas(upgrade(ON, deployment("gateway", 1))) == 3
    assert replicas(upgrade(ON, deployment("gateway", 0))) == 3


def test_an_autoscaler_that_somebody_paused_stays_paused(upgrade: Upgrade) -> None:
    """With 0 replicas, an HPA does nothing."""
    assert replicas(upgrade(ON, deployment("gateway", 0), HPA)) == 0


@pytest.mark.parametrize("scaler", [HPA, KEDAS], ids=["HPA", "KEDA"])
def test_switching_off_keeps_what_runs(upgrade: Upgrade, scaler: Object) -> None:
    found = upgrade(OFF, deployment("gateway", 9), scaler)
    assert (replicas(found), left(found)) == (9, "2")


def test_what_an_autoscaler_left_stays_until_the_number_is_changed(upgrade: Upgrade) -> None:
    after = deployment("gateway", 9, **{LEFT: "2"})
    assert (replicas(upgrade(OFF, after)), left(upgrade(OFF, after))) == (9, "2")
    changed = upgrade(OFF.replace("=2", "=5"), after)
    assert (replicas(changed), left(changed)) == (5, None)


def test_without_an_autoscaler_the_values_decide(upgrade: Upgrade) -> None:
    for running in (0, 1, 9):
        found = upgrade(OFF, deployment("gateway", running))
        assert (replicas(found), left(found)) == (2, None)


def test_switching_off_raises_to_the_number_asked_for(upgrade: Upgrade) -> None:
    found = upgrade(OFF, deployment("gateway", 1), HPA)
    assert (replicas(found), left(found)) == (2, None)
