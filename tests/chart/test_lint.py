"""helm 4 and helm 3 lint the chart and render every example in the same way."""

from __future__ import annotations

import pytest

from deploy.helm.pages import CHART
from tests.chart.helm import CI_VALUES, Helm, rendered_once


@pytest.mark.parametrize("values", CI_VALUES)
def test_lints_without_a_warning(each_helm: Helm, values: str) -> None:
    result = each_helm.lint("--values", str(CHART / "ci" / values))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stdout


@pytest.mark.parametrize("values", CI_VALUES)
def test_both_versions_render_the_same(each_helm: Helm, helm: Helm, values: str) -> None:
    newest = rendered_once(helm, values).objects
    assert sorted(rendered_once(each_helm, values).objects, key=repr) == sorted(newest, key=repr)


def test_notes_tell_three_commands(helm: Helm) -> None:
    """helm 3 renders the notes only with a cluster."""
    result = helm.run(
        "install", "release", str(CHART), "--dry-run=client", "--namespace", "events",
        "--values", str(CHART / "ci" / "trial-values.yaml"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    notes = result.stdout.partition("NOTES:")[2]
    commands = [line for line in notes.splitlines() if line.startswith(("  kubectl ", "  helm "))]
    assert len(commands) == 3, notes
    assert "deploy/release-clarion-gateway -- clarion tail" in commands[0]
    assert "deploy/release-clarion-publisher -- clarion publish" in commands[1]


def test_notes_tell_the_way_in_over_a_route(helm: Helm) -> None:
    result = helm.run(
        "install", "release", str(CHART), "--dry-run=client", "--namespace", "events",
        "--values", str(CHART / "ci" / "keda-values.yaml"),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    notes = result.stdout.partition("NOTES:")[2]
    assert "From outside: wss://events.example.com/ws" in notes
    assert "get httproute events-gateway" in notes
