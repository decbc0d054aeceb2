"""A real API server accepts every object of every example, without a warning.

No object is created: ``--dry-run=server`` applies defaults, validation and admission.
"""

from __future__ import annotations

import pytest
import yaml

from deploy.helm.pages import CHART
from tests.chart.helm import CI_VALUES, Object
from tests.cluster.cluster import MINUTE, RELEASE, Cluster

pytestmark = pytest.mark.timeout(5 * MINUTE)


@pytest.mark.parametrize("example", CI_VALUES)
def test_the_api_takes_every_example(empty_cluster: Cluster, example: str) -> None:
    """Unknown fields are errors; so is a pod template that Pod Security would refuse."""
    served = set(empty_cluster.run("api-versions").split())
    objects = [one for one in rendered(empty_cluster, example) if one["apiVersion"] in served]
    for one in objects:
        one["metadata"]["namespace"] = empty_cluster.namespace
    answer = empty_cluster.run(
        "apply", "--filename=-", "--dry-run=server", "--validate=strict", "--warnings-as-errors",
        stdin=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert len(answer.splitlines()) == len(objects)
    assert {one["kind"] for one in objects} >= {"Deployment", "Service", "ServiceAccount"}


def rendered(cluster: Cluster, example: str) -> list[Object]:
    """The objects that `helm install` and `helm test` would send."""
    result = cluster.helm.run(
        "template", RELEASE, str(CHART), "--namespace", cluster.namespace,
        "--values", str(CHART / "ci" / example),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [one for one in yaml.safe_load_all(result.stdout) if one]
