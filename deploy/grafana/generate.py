"""Writes the dashboards to the places from which the chart and compose.yaml take them.

After a change, run ``python -m deploy.grafana.generate`` in the repository's root; until then a
test fails.
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
    """The name and the text of each file."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.json(), indent=2) + "\n"
        for dashboard in DASHBOARDS
    }


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
