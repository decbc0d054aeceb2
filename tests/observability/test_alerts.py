"""The alerts in promtool: each fires in the right cases and stays quiet in the others."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from deploy.grafana.panel import RUNBOOK_URL
from tests.observability.files import (
    ALERT_TESTS,
    ALERTS,
    ROOT,
    RUNBOOK,
    SCRAPE,
    Fields,
    alert_expressions,
    alerts,
    anchors,
    load_yaml,
    metric_names,
    selectors,
)

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not here; on Debian and Ubuntu: apt-get install prometheus",
)


def promtool(*arguments: str | Path) -> str:
    completed = subprocess.run(
        ["promtool", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
    )
    output = completed.stdout.decode()
    assert completed.returncode == 0, output
    return output


@needs_promtool
def test_rules_are_valid() -> None:
    assert f"{len(alerts())} rules found" in promtool("check", "rules", ALERTS)


@needs_promtool
@pytest.mark.timeout(600)
def test_rules_fire_where_they_must_and_only_there() -> None:
    assert "SUCCESS" in promtool("test", "rules", ALERT_TESTS)


@needs_promtool
def test_scrape_configuration_is_valid(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(SCRAPE.read_text().replace("/etc/prometheus/alerts", str(ALERTS.parent)))
    assert "SUCCESS" in promtool("check", "config", config)


def test_every_alert_has_a_case_that_fires_and_one_that_must_not() -> None:
    cases: dict[str, set[bool]] = defaultdict(set)
    quiet_throughout: set[str] = set()
    for test in load_yaml(ALERT_TESTS)["tests"]:
        fired: dict[str, set[bool]] = defaultdict(set)
        for case in test["alert_rule_test"]:
            fired[case["alertname"]].add(bool(case["exp_alerts"]))
        for name, outcomes in fired.items():
            cases[name] |= outcomes
            if outcomes == {False}:
                quiet_throughout.add(name)
    names = {alert["alert"] for alert in alerts()}
    assert {name for name, outcomes in cases.items() if True in outcomes} == names
    # Not only quiet until `for` is over: quiet under conditions that resemble the bad ones. The
    # first has them in the case of two namespaces.
    assert quiet_throughout | {"ClarionNoReadyGateway"} == names


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_says_how_bad_what_and_what_to_do(alert: Fields) -> None:
    assert alert["alert"].startswith("Clarion")
    assert alert["labels"] == {"severity": alert["labels"]["severity"]}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    annotations = alert["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")
    address, _, anchor = annotations["runbook_url"].partition("#")
    assert address == RUNBOOK_URL
    assert anchor in anchors(RUNBOOK)


def test_every_selector_can_be_narrowed_to_a_release() -> None:
    """The chart replaces this text by its own namespace."""
    for expression in alert_expressions():
        for selector in selectors(expression.expr):
            assert 'namespace=~".+"' in selector, expression.where


def test_every_metric_is_documented() -> None:
    documented = set(re.findall(r"`(clarion_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    documented |= {"process_open_fds", "process_max_fds"}  # as `process_*`
    for expression in alert_expressions():
        assert metric_names(expression.expr) <= documented, expression.where


def test_every_alert_is_documented() -> None:
    text = RUNBOOK.read_text()
    assert set(re.findall(r"`(Clarion\w+)`", text)) == {alert["alert"] for alert in alerts()}
