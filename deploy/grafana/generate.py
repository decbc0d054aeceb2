"""Writes the dashboards where the chart and compose.yaml take them from.

``python -m deploy.grafana.generate`` in the repository's root, after a change; a test fails until
then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from deploy.grafana.gateway_pods import GATEWAY_PODS
from deploy.grafana.overview import OVERVIEW

FOLDER: Final = Path(__file__).parents[1] / "helm" / "clarion" / "dashboards"
DASHBOARDS: Final = (OVERVIEW, GATEWAY_PODS)


def files() -> dict[str, str]:
    """Each file's name and text."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.json(), indent=2) + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
