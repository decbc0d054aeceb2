"""The outbox in the chart: its URL and login are in Secrets, and its database can be reached."""

from __future__ import annotations

import pytest

from tests.chart.helm import Helm, Rendered
from tests.chart.test_schema import TRIAL

OWN = "publisher.outbox.existingSecret"
LOGIN = "publisher.outbox.login.existingSecret"


def secrets_of(rendered: Rendered, component: str) -> dict[str, dict[str, str]]:
    """Where each variable of the outbox comes from."""
    return {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in rendered.container(component)["env"]
        if one["name"].startswith("PUBLISHER_OUTBOX_")
    }


def test_there_is_none_by_default(trial: Rendered) -> None:
    assert secrets_of(trial, "publisher") == {}


def test_a_url_in_the_values_goes_into_the_publishers_secret(helm: Helm) -> None:
    url = "postgresql://shop:pass@db:6543/shop"
    rendered = helm.render(*TRIAL, "--set", f"publisher.outbox.url={url}")
    secret = rendered.the("Secret", "publisher")
    assert secret["stringData"]["outbox-url"] == url
    assert secrets_of(rendered, "publisher") == {
        "PUBLISHER_OUTBOX_URL": {"name": secret["metadata"]["name"], "key": "outbox-url"}
    }
    assert secrets_of(rendered, "gateway") == {}
    assert "outbox-url" not in rendered.the("Secret", "gateway")["stringData"]
    assert url not in str(list(rendered.all("ConfigMap")))


def test_secrets_of_your_own(helm: Helm) -> None:
    rendered = helm.render(*TRIAL, "--set", f"{OWN}.name=db,{OWN}.key=url,{LOGIN}.name=login")
    assert secrets_of(rendered, "publisher") == {
        "PUBLISHER_OUTBOX_URL": {"name": "db", "key": "url"},
        "PUBLISHER_OUTBOX_PASSWORD": {"name": "login", "key": "password"},
    }
    named = helm.render(*TRIAL, "--set", f"{OWN}.name=db,{LOGIN}.name=a,{LOGIN}.usernameKey=user")
    assert secrets_of(named, "publisher")["PUBLISHER_OUTBOX_USERNAME"] == {
        "name": "a",
        "key": "user",
    }


def test_contradictions_are_refused(helm: Helm) -> None:
    url = "publisher.outbox.url=postgresql://db/shop"
    assert "got both" in helm.refusal(*TRIAL, "--set", f"{url},{OWN}.name=db")
    assert "beside" in helm.refusal(*TRIAL, "--set", f"{LOGIN}.name=login")
    for bad in ("mysql://db/shop", "postgresql://db", "db"):
        assert "publisher" in helm.refusal(*TRIAL, "--set", f"publisher.outbox.url={bad}")


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        ("publisher.outbox.url=postgresql://db/shop", [5432]),
        ("publisher.outbox.url=postgresql://u:p%40s@db:6543/shop?sslmode=require", [6543]),
        (r"publisher.outbox.url=postgresql://a:5433\,b/shop", [5433, 5432]),
        (f"{OWN}.name=db", [5432]),
        (f"{OWN}.name=db,networkPolicy.postgresPort=6432", [6432]),
    ],
)
def test_its_ports_get_through_the_network_policy(
    helm: Helm, values: str, ports: list[int]
) -> None:
    rendered = helm.render(*TRIAL, "--set", f"networkPolicy.enabled=true,{values}")
    rule = {"ports": [{"port": port} for port in ports]}
    for component in ("gateway", "publisher"):
        egress = rendered.the("NetworkPolicy", component)["spec"]["egress"]
        assert (rule in egress) == (component == "publisher")


def test_a_changed_url_rolls_the_publishers_only(helm: Helm, trial: Rendered) -> None:
    changed = helm.render(*TRIAL, "--set", "publisher.outbox.url=postgresql://db/shop")
    for component in ("gateway", "publisher"):
        before, after = (
            each.the("Deployment", component)["spec"]["template"]["metadata"]["annotations"]
            for each in (trial, changed)
        )
        assert (before != after) == (component == "publisher")
