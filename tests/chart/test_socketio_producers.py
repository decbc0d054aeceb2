"""The Redis of Socket.IO's producers in the chart: its URL is in a Secret, and it can be reached."""

from __future__ import annotations

import pytest

from tests.chart.helm import Helm, Rendered
from tests.chart.test_schema import TRIAL

OWN = "publisher.socketio.existingSecret"
NAME = "PUBLISHER_SOCKETIO_REDIS_URL"


def secret_of(rendered: Rendered, component: str) -> list[dict[str, str]]:
    return [
        one["valueFrom"]["secretKeyRef"]
        for one in rendered.container(component)["env"]
        if one["name"] == NAME
    ]


def test_there_is_none_by_default(trial: Rendered) -> None:
    assert secret_of(trial, "publisher") == []


def test_a_url_in_the_values_goes_into_the_publishers_secret(helm: Helm) -> None:
    url = "redis://:pass@emitters:6380/0"
    rendered = helm.render(*TRIAL, "--set", f"publisher.socketio.url={url}")
    secret = rendered.the("Secret", "publisher")
    assert secret["stringData"]["socketio-redis-url"] == url
    name = secret["metadata"]["name"]
    assert secret_of(rendered, "publisher") == [{"name": name, "key": "socketio-redis-url"}]
    assert secret_of(rendered, "gateway") == []


def test_a_secret_of_your_own(helm: Helm) -> None:
    rendered = helm.render(*TRIAL, "--set", f"{OWN}.name=emitters,{OWN}.key=uri")
    assert secret_of(rendered, "publisher") == [{"name": "emitters", "key": "uri"}]


def test_contradictions_are_refused(helm: Helm) -> None:
    url = "publisher.socketio.url=redis://emitters:6379/0"
    assert "got both" in helm.refusal(*TRIAL, "--set", f"{url},{OWN}.name=emitters")
    assert "publisher" in helm.refusal(*TRIAL, "--set", "publisher.socketio.url=http://emitters")


@pytest.mark.parametrize(
    ("values", "port"),
    [
        ("publisher.socketio.url=redis://emitters/0", 6379),
        ("publisher.socketio.url=rediss://u:p%40s@emitters:6380/0", 6380),
        (r"publisher.socketio.url=redis+sentinel://a:1\,b:2/main", 6379),
        (f"{OWN}.name=emitters,networkPolicy.redisPort=7000", 7000),
    ],
)
def test_its_port_gets_through_the_network_policy(helm: Helm, values: str, port: int) -> None:
    rendered = helm.render(*TRIAL, "--set", f"networkPolicy.enabled=true,{values}")
    rule = {"ports": [{"port": port}]}
    for component in ("gateway", "publisher"):
        egress = rendered.the("NetworkPolicy", component)["spec"]["egress"]
        assert (rule in egress) == (component == "publisher")
