"""Every expression of every panel, alert and adapter rule returns data from a real stack.

A real Prometheus, configured as we ship it, scrapes a publisher and two gateways. Everything that
they count happens to them. A panel that would show nothing fails.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.observability.files import (
    ROOT,
    Expression,
    Fields,
    adapter_expressions,
    alert_expressions,
    alerts,
    dashboards,
    panel_expressions,
    rows,
    selectors,
)
from tests.observability.observed import Observed, observing
from tests.observability.pictures import draw, path_of

pytestmark = [
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is not here; on Debian and Ubuntu: apt-get install prometheus",
    ),
    # The first test waits for the traffic of all.
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with observing(tmp_path_factory.mktemp("observed")) as observed:
        yield observed


def without_thresholds(expr: str) -> str:
    """The value that an alert compares, without the comparison, and without what silences it."""
    expr, _, _ = expr.partition("\nunless\n")
    without = re.sub(r"\s*(?:==|!=|<=|>=|<|>)\s*(?:bool\s+)?[0-9.]+", "", expr)
    without = re.sub(r"\s<\s+(?=clarion_)", " or ", without)  # a comparison of two metrics
    return re.sub(r"\babsent\s*\(", "(", without)


def every_selector_matches(observed: Observed, expr: str) -> None:
    """A name that does not exist would go unnoticed in a sum or behind an `or`."""
    assert selectors(expr)
    for selector in selectors(expr):
        assert observed.drawn(f"count ({selector})"), selector


@pytest.mark.parametrize("expression", list(panel_expressions()), ids=str)
def test_every_panel_shows_something(observed: Observed, expression: Expression) -> None:
    expr = expression.expr
    every_selector_matches(observed, expr)
    # Some show only what is wrong at the moment, and it may be over or never have been.
    assert observed.drawn(without_thresholds(expr)), expr


@pytest.mark.parametrize("expression", list(alert_expressions()), ids=str)
def test_every_alert_looks_at_something(observed: Observed, expression: Expression) -> None:
    every_selector_matches(observed, expression.expr)
    looked_at = without_thresholds(expression.expr)
    assert observed.drawn(looked_at), looked_at


@pytest.mark.parametrize("expression", list(adapter_expressions()), ids=str)
def test_the_adapter_finds_its_metric(observed: Observed, expression: Expression) -> None:
    every_selector_matches(observed, expression.expr)
    pods = {labels["pod"] for labels, _ in observed.drawn(expression.expr)}
    assert pods == {"gateway-1", "gateway-2"}


def test_the_variables_offer_what_there_is(observed: Observed) -> None:
    offered = {}
    for variable in dashboards()[0]["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            assert asked
            series = asked[1].replace("$namespace", ".+")
            path = f"/label/{asked[2]}/values"
            offered[variable["name"]] = observed.prometheus.get(path, **{"match[]": series})
    assert offered == {"namespace": ["local"], "pod": ["gateway-1", "gateway-2"]}


def panel(title: str) -> str:
    return next(each.expr for each in panel_expressions() if each.where.startswith(title))


def test_deliveries_are_told_apart_by_audience(observed: Observed) -> None:
    drawn = observed.drawn(panel("Clarion overview: Deliveries by audience"))
    highest = {labels["audience"]: max(values) for labels, values in drawn}
    assert set(highest) == {"all", "authenticated", "user"}
    assert all(value > 0 for value in highest.values()), highest


def test_what_went_wrong_is_seen(observed: Observed) -> None:
    """The number must exist, and it must change with the fault it stands for."""
    for title in (
        "Clarion overview: Failed publish requests",
        "Clarion overview: Data loss in Redis",
        "Clarion overview: Slow clients disconnected",
        "Clarion overview: Redis errors",
        "Clarion gateway pods: Redis subscription connects",
        "Clarion gateway pods: Gaps in Redis streams",
        "Clarion gateway pods: Invalid messages from Redis",
        "Clarion gateway pods: Draining",
    ):
        drawn = observed.drawn(panel(title))
        assert max(max(values) for _, values in drawn) > 0, title


def test_ready_pods_are_counted(observed: Observed) -> None:
    ((_, values),) = observed.drawn(panel("Clarion overview: Ready gateways"))
    assert max(values) == 2
    assert values[-1] == 1  # the other drains


def timelines() -> list[Fields]:
    panels = [one for dashboard in dashboards() for _, below in rows(dashboard) for one in below]
    return [one for one in panels if one["type"] == "state-timeline"]


@pytest.mark.parametrize("timeline", timelines(), ids=lambda each: each["title"])
def test_a_state_is_green_while_nothing_is_wrong(observed: Observed, timeline: Fields) -> None:
    """Nothing is wrong with any pod at first."""
    drawn = [observed.drawn(target["expr"]) for target in timeline["targets"]]
    first = {values[0] for series in drawn for _, values in series}
    (mapping,) = timeline["fieldConfig"]["defaults"]["mappings"]
    assert {mapping["options"][f"{value:.0f}"]["color"] for value in first} == {"green"}


def test_rules_load_and_run(observed: Observed) -> None:
    groups = observed.prometheus.get("/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {alert["alert"] for alert in alerts()}
    for rule in rules:
        assert rule["health"] == "ok", rule


def test_the_loss_of_events_and_bad_rows_alarm_at_once(observed: Observed) -> None:
    firing = [
        alert
        for alert in observed.prometheus.get("/alerts")["alerts"]
        if alert["state"] == "firing"
    ]
    assert {alert["labels"]["alertname"] for alert in firing} == {
        "ClarionEventsLost",
        "ClarionOutboxRowsRefused",
    }
    assert all(alert["labels"]["namespace"] == "local" for alert in firing)


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda each: each["title"])
def test_the_docs_show_the_dashboards_as_they_are(
    observed: Observed, dashboard: Fields, tmp_path: Path
) -> None:
    """With a panel more or less, the pictures have another size: draw them again."""
    path = path_of(dashboard, tmp_path)
    draw(dashboard, observed, path)
    assert path.stat().st_size > 100_000
    committed = path_of(dashboard)
    assert pixels(committed) == pixels(path), "run: python -m tests.observability.pictures"
    assert f"dashboards/{committed.name}" in (ROOT / "docs" / "kubernetes.md").read_text()


def pixels(png: Path) -> tuple[int, int]:
    """Width and height, from the picture's first chunk."""
    width, height = struct.unpack(">II", png.read_bytes()[16:24])
    return width, height
