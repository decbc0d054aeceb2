"""Bad values are refused before anything reaches a cluster, with a clear message."""

from __future__ import annotations

import json

import pytest

from deploy.helm.pages import CHART
from tests.chart.helm import Helm

TRIAL = ("--values", str(CHART / "ci" / "trial-values.yaml"))


@pytest.mark.parametrize(
    "wrong",
    [
        "replica=3",
        "gateway.replica=3",
        "gateway.autoscaling.maxReplica=9",
        "gateway.settings.GATEWAY_MAX_CONECTIONS=5",
        "gateway.settings.PUBLISHER_PORT=8080",
        "settings.GATEWAY_PORT=8000",
        "settings.CLARION_JWT_SECRET=oh-no",
        "gateway.settings.GATEWAY_MAX_CONNECTIONS=0",
        "gateway.settings.GATEWAY_MAX_CONNECTIONS=many",
        "gateway.settings.GATEWAY_PORT=0",
        "gateway.settings.GATEWAY_DRAIN_SPREAD_SECONDS=null",
        "gateway.settings.GATEWAY_DRAIN_SPREAD_SECONDS=-1",
        "gateway.terminationMarginSeconds=-1",
        "gateway.auth.secrets=x",
        "settings.CLARION_LOG_LEVEL=loud",
        "auth.secret=short",
        "auth.jwksUrl=login.example.com",
        "redis.url=redis.example.com:6379",
        "redis.url=redis+clusters://redis.example.com:6379",
        "image.digest=latest",
        "image.pullPolicy=Sometimes",
        "gateway.topologySpread.zone=Maybe",
        "gateway.rollout.maxSurge=0",
        "gateway.pdb.maxUnavailable=0",
        "gateway.autoscaling.minReplicas=0",
        "gateway.autoscaling.connections.targetPercent=101",
        "gateway.service.type=ExternalName",
        "gateway.handlers.name=chat",
        "otlp.settings.PATH=/",
        "metrics.serviceMonitor.interval=15",
        "gateway.podDeletionCost=true",
        "gateway.settings.GATEWAY_POD_DELETION_COST=true",
        "networkPolicy.apiPorts={https}",
    ],
)
def test_refuses(helm: Helm, wrong: str) -> None:
    refusal = helm.refusal(*TRIAL, "--set", wrong)
    assert "values don't meet the specifications of the schema" in refusal


def test_every_version_of_helm_refuses(each_helm: Helm) -> None:
    """Versions of helm read JSON Schema with different libraries."""
    for wrong in ("gateway.replica=3", "gateway.settings.GATEWAY_PORT=0", "auth.secret=short"):
        assert "values don't meet the specifications" in each_helm.refusal(*TRIAL, "--set", wrong)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["redis.valkey.enabled=true"], "expected exactly one of auth.secret"),
        (["auth.secret=" + "s" * 32], "expected exactly one of redis.url"),
        (
            ["auth.secret=" + "s" * 32, "auth.jwksUrl=https://a", "redis.url=redis://r"],
            "secret and",
        ),
        (["auth.jwksUrl=https://a", "redis.url=redis://r", "redis.valkey.enabled=true"], "redis."),
    ],
)
def test_says_what_is_missing(helm: Helm, options: list[str], expected: str) -> None:
    """An install that could only crash is refused, and the message says what to set."""
    assignments = [part for option in options for part in ("--set", option)]
    assert expected in helm.refusal(*assignments)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("gateway.ingress.enabled=true", "gateway.ingress.hosts"),
        ("publisher.httpRoute.enabled=true", "publisher.httpRoute.parentRefs"),
        ("gateway.handlers.existingConfigMap=chat", "gateway.handlers.name"),
        (
            "gateway.podDeletionCost.enabled=true,gateway.serviceAccount.create=false",
            "expected gateway.serviceAccount.create",
        ),
        ("publisher.autoscaling.minReplicas=11", "to be at most maxReplicas, got 11 and 10"),
    ],
)
def test_says_what_belongs_together(helm: Helm, option: str, expected: str) -> None:
    assert expected in helm.refusal(*TRIAL, "--set", option)


def test_describes_what_has_a_comment() -> None:
    """Editors show the schema's descriptions while values are written."""
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    gateway = properties["gateway"]["properties"]
    assert "wins over the tag" in properties["image"]["properties"]["digest"]["description"]
    assert "pods" in gateway["replicas"]["description"]
    settings = gateway["settings"]["properties"]
    assert all(setting.get("description") for setting in settings.values())
