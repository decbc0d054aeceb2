"""The dashboards match their code, and every panel has an explanation."""

from __future__ import annotations

import re

import pytest

from deploy.grafana.generate import files
from deploy.grafana.panel import RUNBOOK_URL
from tests.observability.files import (
    DASHBOARDS,
    ROOT,
    RUNBOOK,
    Fields,
    anchors,
    dashboards,
    metric_names,
    panel_expressions,
    panels,
    rows,
)

TITLES = {"Clarion overview", "Clarion gateway pods"}
each_dashboard = pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["title"])


def test_are_what_their_code_generates() -> None:
    """If it fails: python -m deploy.grafana.generate."""
    assert {path.name: path.read_text() for path in DASHBOARDS.iterdir()} == files()
    assert {dashboard["title"] for dashboard in dashboards()} == TITLES


@each_dashboard
def test_every_panel_says_what_it_shows_and_what_to_do(dashboard: Fields) -> None:
    known = anchors(RUNBOOK)
    for panel in panels(dashboard):
        title = panel["title"]
        assert panel["description"].endswith("."), title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert all(target["legendFormat"] for target in panel["targets"]), title
        (link,) = panel["links"]
        address, _, anchor = link["url"].partition("#")
        assert address == RUNBOOK_URL, title
        assert anchor in known, title


@each_dashboard
def test_several_series_never_share_a_legend(dashboard: Fields) -> None:
    """A legend shows the labels by which its expression sums."""
    for panel in panels(dashboard):
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(legends) == len(set(legends)), panel["title"]
        for target in panel["targets"]:
            outermost = re.search(r"\b(?:sum|max) by \(([^)]*)\)", target["expr"])
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            summed = set(outermost[1].split(", ")) if outermost else set()
            internal = {"le", "namespace"} if panel["type"] != "heatmap" else set()
            if panel["title"] != "Ready gateways":  # counts what it has grouped
                assert shown == summed - internal, panel["title"]


@each_dashboard
def test_panels_fill_the_grid_without_overlaps(dashboard: Fields) -> None:
    for row, below in rows(dashboard):
        taken: set[tuple[int, int]] = set()
        for panel in below:
            place = panel["gridPos"]
            cells = {
                (place["x"] + column, place["y"] + line)
                for column in range(place["w"])
                for line in range(place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
        assert len(taken) == 24 * len({line for _, line in taken}), row["title"]  # no holes
        assert min(line for _, line in taken) == row["gridPos"]["y"] + 1
    numbers = [panel["id"] for row, below in rows(dashboard) for panel in (row, *below)]
    assert numbers == list(range(1, len(numbers) + 1))


@each_dashboard
def test_the_first_screen_is_open_and_the_rest_is_not(dashboard: Fields) -> None:
    """A dashboard that opens asks Prometheus only for what a screen of 1,080 lines shows."""
    collapsed = [row["collapsed"] for row, _ in rows(dashboard)]
    assert collapsed == sorted(collapsed)
    opened = [panel for row, below in rows(dashboard) if not row["collapsed"] for panel in below]
    assert max(place["y"] + place["h"] for place in (one["gridPos"] for one in opened)) <= 24
    assert any(collapsed)


@each_dashboard
def test_yes_and_no_are_state_timelines(dashboard: Fields) -> None:
    for panel in panels(dashboard):
        field = panel["fieldConfig"]["defaults"]
        assert (panel["type"] == "state-timeline") == (field["unit"] == "bool_yes_no")
        if panel["type"] == "state-timeline":
            (mapping,) = field["mappings"]
            assert {value["text"] for value in mapping["options"].values()} == {"Yes", "No"}


@each_dashboard
def test_a_series_keeps_its_colour(dashboard: Fields) -> None:
    """By its name, whatever other series there are; outcomes have the colour of what they mean."""
    for panel in panels(dashboard):
        if panel["type"] != "timeseries":
            continue
        assert panel["fieldConfig"]["defaults"]["color"]["mode"] == "palette-classic-by-name"
        fixed = {
            override["properties"][0]["value"]["fixedColor"]: override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
        }
        if any("{{outcome}}" in target["legendFormat"] for target in panel["targets"]):
            assert re.search(fixed["green"].strip("/"), "gateway-1 accepted"), panel["title"]
            assert re.search(fixed["red"].strip("/"), "bus_unavailable"), panel["title"]
            assert not re.search(fixed["red"].strip("/"), "lost and found"), panel["title"]


@each_dashboard
def test_no_figure_counts_since_a_pods_start(dashboard: Fields) -> None:
    """Pods restart at different times: a sum of their counters says nothing."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            for counter in re.findall(r"\w+_total\{[^}]*\}(.?)", target["expr"]):
                assert counter == "[", panel["title"]


@each_dashboard
def test_every_expression_asks_for_the_chosen_namespace(dashboard: Fields) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "namespace", "pod"}
    for panel in panels(dashboard):
        for target in panel["targets"]:
            expr = target["expr"]
            used = set(re.findall(r"\$(\w+)", expr)) - {"__rate_interval", "__range"}
            assert used <= variables, panel["title"]
            assert expr.count("{") == expr.count('namespace=~"$namespace"'), panel["title"]
            if re.search(r"\b(process|python)_", expr):  # every Python process has these
                assert "and on (namespace, pod) clarion_" in expr, panel["title"]


def test_every_metric_is_documented() -> None:
    documented = set(re.findall(r"`(clarion_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    for expression in panel_expressions():
        ours = {name for name in metric_names(expression.expr) if name.startswith("clarion_")}
        assert ours <= documented, expression.where


def test_every_metric_of_ours_is_shown() -> None:
    """A metric that no panel shows is not needed."""
    documented = set(
        re.findall(r"^\| `(clarion_\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    )
    shown = {name for each in panel_expressions() for name in metric_names(each.expr)}
    assert documented - shown == {"clarion_publisher_draining"}  # over in 25 s, and costs no client
