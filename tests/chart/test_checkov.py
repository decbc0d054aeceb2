"""checkov has no findings except those that deploy/helm/checkov.yaml gives a reason for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deploy.helm.pages import CHART
from tests.chart.helm import CI_VALUES, Helm

_ROOT: Final = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not shutil.which("checkov"), reason="no checkov here"),
    pytest.mark.timeout(180),
]


def test_no_finding_without_a_reason(helm: Helm, tmp_path: Path) -> None:
    for values in CI_VALUES:
        result = helm.run(
            "template", "release", str(CHART), "--skip-tests",
            "--values", str(CHART / "ci" / values),
            # Containers of the example's own.
            "--set-json", "gateway.extraContainers=[],gateway.extraInitContainers=[]",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        (tmp_path / values).write_text(result.stdout)
    shutil.copy(_ROOT / "Dockerfile", tmp_path)
    config = str(CHART.parent / "checkov.yaml")
    result = subprocess.run(
        ["checkov", "--config-file", config, "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=os.environ | {"LOG_LEVEL": "ERROR"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
