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
        "networkPolicy.dnsPorts={0}",
        "gateway.resources.requests.memory=1Gib",
        "gateway.resources.requests.memory=500m",
        "gateway.resources.requests.cpu=-1",
        "gateway.resources.limits.cpu=1Gi",
        "test.resources.limits.memory=64 Mi",
        "redis.valkey.persistence.size=2GiB",
        "redis.valkey.maxMemory=384Mi",
        "redis.valkey.maxMemory=0",
        "fullnameOverride=Events",
        "nameOverride=events_",
        "gateway.serviceAccount.name=Gateway",
        "auth.existingSecret.name=Tokens",
        "auth.existingSecret.key=a b",
        "gateway.ingress.tlsSecretName=events/tls",
        "gateway.ingress.hosts={https://events.example.com}",
        "gateway.ingress.hosts={events.example.com/ws}",
        "gateway.ingress.hosts={Events.example.com}",
        "gateway.httpRoute.hostnames={events.example.com:443}",
        "gateway.ingress.paths={ws}",
        "gateway.ingress.pathType=Regex",
        "publisher.httpRoute.paths={v1}",
        "auth.jwksUrl=https:/login.example.com",
        "auth.jwksUrl=https://login example.com/keys",
        "otlp.endpoint=https://",
        "redis.url=redis://",
        "redis.url=redis://user:pass word@host",
        "gateway.autoscaling.keda.prometheusAddress=prometheus:9090",
        "metrics.runbookUrl=",
        "image.repository=https://registry.example.com/clarion",
        "image.repository=registry.example.com/clarion:1.0",
        "image.repository=registry.example.com/Clarion",
        "image.tag=a tag",
        "gateway.service.loadBalancerSourceRanges={192.0.2.1}",
        "gateway.service.nodePort=70000",
        "gateway.dnsPolicy=Cluster",
        "gateway.podLabels.app\\.kubernetes\\.io/name=x",
        "commonLabels.app\\.kubernetes\\.io/instance=x",
        "global.imageRegistry=https://registry.example.com",
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
        (
            "gateway.settings.GATEWAY_INTERNAL_PORT=8000",
            "GATEWAY_PORT and GATEWAY_INTERNAL_PORT to differ, got 8000",
        ),
        (
            "gateway.resources.requests.memory=2Gi",
            "gateway.resources.requests.memory to be at most the limit, got 2Gi and 1Gi",
        ),
        (
            "publisher.resources.requests.cpu=1,publisher.resources.limits.cpu=900m",
            "publisher.resources.requests.cpu to be at most the limit, got 1 and 900m",
        ),
        (
            "gateway.resources.requests.memory=1073741825",
            "gateway.resources.requests.memory to be at most the limit",
        ),
        ("test.resources.requests.memory=129Mi", "test.resources.requests.memory"),
        ("redis.valkey.resources.requests.memory=1G", "redis.valkey.resources.requests.memory"),
        ("redis.valkey.maxMemory=512mb", "redis.valkey.maxMemory to be below"),
        ("redis.valkey.maxMemory=1gb", "redis.valkey.maxMemory to be below"),
        (
            "publisher.resources.limits.memory=128M,publisher.resources.requests.memory=64Mi",
            "memory to be above PUBLISHER_BODIES_MAX_BYTES, got 128M and 134217728",
        ),
        (
            "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
            "scraped twice",
        ),
        (
            "metrics.podMonitor.enabled=true,metrics.podMonitor.scrapeTimeout=1m30s",
            "metrics.podMonitor.scrapeTimeout to be at most the interval, got 1m30s and 15s",
        ),
        ("gateway.rollout.minReadySeconds=600", "progressDeadlineSeconds to be above"),
        ("gateway.service.nodePort=30080", "expected gateway.service.type NodePort"),
        (
            "gateway.extraEnv[0].name=GATEWAY_PORT,gateway.extraEnv[0].value=80",
            "gateway.extraEnv sets GATEWAY_PORT, which the chart sets already",
        ),
        (
            "publisher.extraEnv[0].name=CLARION_REDIS_URL,publisher.extraEnv[0].value=x",
            "publisher.extraEnv sets CLARION_REDIS_URL",
        ),
        ("gateway.extraContainers[0].name=gateway", "another name than gateway"),
        ("gateway.extraVolumes[0].name=tmp", "another name than tmp"),
        ("gateway.extraVolumeMounts[0].mountPath=/tmp", "another path than /tmp"),
    ],
)
def test_says_what_belongs_together(helm: Helm, option: str, expected: str) -> None:
    assert expected in helm.refusal(*TRIAL, "--set", option)


@pytest.mark.parametrize(
    "right",
    [
        "gateway.resources.requests.cpu=0.5,gateway.resources.limits.cpu=1",
        "gateway.resources.requests.memory=1024Mi",
        "gateway.resources.requests.memory=1e9",
        "gateway.resources.limits.memory=1.5Gi",
        "gateway.resources.limits.nvidia\\.com/gpu=1",
        "redis.valkey.maxMemory=500mb",
        "gateway.ingress.enabled=true,gateway.ingress.hosts={*.example.com,xn--bcher-kva.example}",
        "image.repository=localhost:5000/team/clarion",
        "image.repository=123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/clarion__x",
        "otlp.endpoint=http://[2001:db8::1]:4318",
        "gateway.autoscaling.keda.prometheusAddress=https://prometheus.example.com/prefix",
        "gateway.service.type=NodePort,gateway.service.nodePort=30080",
        "gateway.service.loadBalancerSourceRanges={2001:db8::/32}",
        "enabled=false,global.storageClass=x",
    ],
)
def test_takes(helm: Helm, right: str) -> None:
    """The refusals of nonsense let unusual sense through."""
    helm.render(*TRIAL, "--set", right)


def test_describes_what_has_a_comment() -> None:
    """Editors show the schema's descriptions while values are written."""
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]
    gateway = properties["gateway"]["properties"]
    assert "wins over the tag" in properties["image"]["properties"]["digest"]["description"]
    assert "pods" in gateway["replicas"]["description"]
    settings = gateway["settings"]["properties"]
    assert all(setting.get("description") for setting in settings.values())
