"""Ready-made values for ingress controllers: valid, with time-outs that follow the ping interval."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from kubernetes_validate import utils as kubernetes  # type: ignore[import-untyped]

from deploy.helm.pages import CHART
from tests.chart.helm import Helm, Rendered
from tests.chart.test_schema import TRIAL

CONTROLLERS: Final = sorted((CHART / "controllers").glob("*.yaml"))
# Without a time-out of ours: Traefik ends no silent connection, and Google's bounds its whole life.
UNBOUNDED: Final = {"traefik", "gke"}


@pytest.fixture(params=CONTROLLERS, ids=lambda path: path.stem)
def controller(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def rendered(helm: Helm, controller: Path, *options: str) -> Rendered:
    return helm.render(*TRIAL, "--values", str(controller), *options)


def test_is_an_ingress_or_a_route_that_kubernetes_takes(each_helm: Helm, controller: Path) -> None:
    release = rendered(each_helm, controller)
    ways = [*release.all("Ingress"), *release.all("HTTPRoute")]
    assert len(ways) == 1
    for found in (*release.all("Ingress"), *release.all("Service")):
        kubernetes.validate(found, kubernetes.latest_version(), strict=True)
        assert "{{" not in str(found)


@pytest.mark.parametrize(("ping", "seconds"), [(None, 60), (10, 30)])
def test_time_outs_follow_the_ping_interval(
    helm: Helm, controller: Path, ping: int | None, seconds: int
) -> None:
    """A silent connection outlives two pings, and a lost node's clients wait no longer."""
    if controller.stem in UNBOUNDED:
        return
    options = ("--set", f"gateway.settings.GATEWAY_PING_INTERVAL_SECONDS={ping}") if ping else ()
    release = rendered(helm, controller, *options)
    ours = ("Ingress", "BackendTrafficPolicy")
    described = str([one for kind in ours for one in release.all(kind)])
    described = re.sub(r"deregistration_delay[^']+", "", described)
    found = re.findall(r"(?i)timeout[\w.-]*\W{1,5}(\d+)", described)
    assert {int(number) for number in found if number != "0"} == {seconds}, described


def test_numbers_are_numbers(helm: Helm) -> None:
    """Google's controller refuses texts."""
    (config,) = rendered(helm, CHART / "controllers" / "gke.yaml").all("BackendConfig")
    assert config["spec"]["connectionDraining"]["drainingTimeoutSec"] == 45
    assert config["spec"]["healthCheck"]["port"] == 8000


def test_without_values_of_its_own_an_ingress_suits_no_controller_in_particular(helm: Helm) -> None:
    values = "gateway.ingress.enabled=true,gateway.ingress.hosts={a.example.com}"
    (ingress,) = helm.render(*TRIAL, "--set", values).all("Ingress")
    assert "annotations" not in ingress["metadata"]
    assert "ingressClassName" not in ingress["spec"]
