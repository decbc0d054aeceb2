"""The schema of the chart's values beyond the types of their defaults, by path."""

from __future__ import annotations

from typing import Any, Final

from clarion_contract.events.topic_rules import TopicRule

Schema = dict[str, Any]

_STRINGS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS: Final[Schema] = {"type": "array", "items": {"type": "object"}}
_PERCENT: Final[Schema] = {"minimum": 1, "maximum": 100}
_DURATION: Final[Schema] = {"pattern": r"^([0-9]+(ms|[smh]))+$"}
_PORT: Final[Schema] = {"minimum": 1, "maximum": 65_535}
_PULL_POLICY: Final[Schema] = {"enum": ["Always", "IfNotPresent", "Never"]}
_SPREAD: Final[Schema] = {"enum": ["", "ScheduleAnyway", "DoNotSchedule"]}
_COUNT_OR_SHARE: Final[Schema] = {
    "type": ["integer", "string"],
    "minimum": 1,
    "pattern": r"^[1-9][0-9]*%$",
}
_AMOUNT: Final[Schema] = {"type": ["string", "number"], "minimum": 0}
_BYTES: Final = r"^[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i|[eE][0-9]+)?$"
_QUANTITIES: Final[Schema] = {
    "type": "object",
    "properties": {
        "cpu": {**_AMOUNT, "pattern": r"^[0-9]+(\.[0-9]+)?m?$"},
        "memory": {**_AMOUNT, "pattern": _BYTES},
        "ephemeral-storage": {**_AMOUNT, "pattern": _BYTES},
    },
    "additionalProperties": {**_AMOUNT, "pattern": _BYTES.replace("([k", "(m|[k")},
}
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOST: Final = rf"{_LABEL}(\.{_LABEL})*"
_OBJECT_NAME: Final[Schema] = {"pattern": f"^({_HOST})?$", "maxLength": 253}
_PART_OF_NAME: Final[Schema] = {"pattern": f"^({_LABEL})?$"}
_HOSTS: Final[Schema] = {
    "type": "array",
    "items": {"type": "string", "pattern": rf"^(\*\.)?{_HOST}$", "maxLength": 253},
}
_PATHS: Final[Schema] = {
    "type": "array",
    "items": {"type": "string", "pattern": r"^/[^\s?#]*$"},
    "minItems": 1,
}
_NETWORKS: Final[Schema] = {
    "type": "array",
    "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
}
_AUTHORITY: Final = r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:[0-9]{1,5})?"
_WEB_URL: Final[Schema] = {"pattern": rf"^(https?://([^\s/@]*@)?{_AUTHORITY}(/\S*)?)?$"}
_REDIS_URL: Final[Schema] = {
    "pattern": r"^(rediss?://\S+|rediss?[+](sentinel|cluster)://\S+)?$",
}
_REPOSITORY: Final[Schema] = {
    "minLength": 1,
    "pattern": r"^([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*$",
}
_POSTGRES_URL: Final[Schema] = {"pattern": r"^(postgres(ql)?://[^\s/]*/\S+)?$"}
_LABELS_OF_OURS: Final[Schema] = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "propertyNames": {
        "not": {"pattern": "^(app[.]kubernetes[.]io|helm[.]sh)/"},
    },
}
_OTEL: Final[Schema] = {
    "type": "object",
    "propertyNames": {"pattern": "^OTEL_"},
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}

REFINEMENTS: Final[tuple[tuple[str, Schema], ...]] = (
    ("*abels", _STRINGS),
    ("commonLabels", _LABELS_OF_OURS),
    ("extraObjects", {"items": {"type": ["object", "string"]}}),
    ("*.podLabels", _LABELS_OF_OURS),
    ("*ingress.labels", _LABELS_OF_OURS),
    ("*nnotations", _STRINGS),
    ("nameOverride", _PART_OF_NAME),
    ("fullnameOverride", _PART_OF_NAME),
    ("*ecret.name", _OBJECT_NAME),
    ("*.tlsSecretName", _OBJECT_NAME),
    ("*.existingConfigMap", _OBJECT_NAME),
    ("*.serviceAccount.name", _OBJECT_NAME),
    ("*.priorityClassName", _OBJECT_NAME),
    ("*.runtimeClassName", _OBJECT_NAME),
    ("*.storageClassName", _OBJECT_NAME),
    ("*.className", _OBJECT_NAME),
    ("metrics.*.namespace", _PART_OF_NAME),
    ("*ecret.key", {"minLength": 1, "pattern": "^[-._a-zA-Z0-9]+$"}),
    ("*nodeSelector", _STRINGS),
    ("catalogue.files", _STRINGS),
    ("gateway.upstream.url", _WEB_URL),
    ("gateway.handlers.files", _STRINGS),
    ("gateway.handlers.name", {"pattern": r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$"}),
    ("topicRules", {"items": TopicRule.model_json_schema()}),
    ("otlp.settings", _OTEL),
    ("otlp.endpoint", _WEB_URL),
    ("*.prometheusAddress", _WEB_URL),
    ("auth.secret", {"pattern": "^(.{32,})?$"}),
    ("auth.jwksUrl", _WEB_URL),
    ("redis.url", _REDIS_URL),
    ("publisher.outbox.url", _POSTGRES_URL),
    ("publisher.socketio.url", _REDIS_URL),
    ("*.login.existingSecret.usernameKey", {"pattern": "^[-._a-zA-Z0-9]*$"}),
    ("*.login.existingSecret.passwordKey", {"minLength": 1, "pattern": "^[-._a-zA-Z0-9]+$"}),
    ("redis.valkey.password", {"pattern": "^[A-Za-z0-9_-]*$"}),
    ("redis.valkey.maxMemory", {"pattern": "^[1-9][0-9]*([kKmMgG][bB]?)?$"}),
    ("redis.valkey.persistence.size", {"pattern": _BYTES}),
    ("*image.digest", {"pattern": "^(sha256:[0-9a-f]{64})?$"}),
    ("*image.repository", _REPOSITORY),
    ("*image.tag", {"pattern": r"^(\w[\w.-]{0,127})?$"}),
    ("*pullPolicy", _PULL_POLICY),
    ("*.resources.requests", _QUANTITIES),
    ("*.resources.limits", _QUANTITIES),
    ("*.topologySpread.*", _SPREAD),
    ("*.service.type", {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}),
    ("*.service.port", _PORT),
    (
        "*.service.ipFamilyPolicy",
        {"enum": ["", "SingleStack", "PreferDualStack", "RequireDualStack"]},
    ),
    (
        "*.service.ipFamilies",
        {
            "items": {"type": "string", "enum": ["IPv4", "IPv6"]},
            "maxItems": 2,
            "uniqueItems": True,
        },
    ),
    ("*.service.nodePort", {**_PORT, "minimum": 0}),
    ("*.service.trafficDistribution", {"pattern": "^[A-Za-z0-9./-]*$"}),
    ("*.service.externalTrafficPolicy", {"enum": ["", "Local", "Cluster"]}),
    ("networkPolicy.*Port", _PORT),
    ("networkPolicy.*Ports", {"items": {"type": "integer", **_PORT}, "minItems": 1}),
    ("*.loadBalancerSourceRanges", _NETWORKS),
    ("*.hosts", _HOSTS),
    ("*.hostnames", _HOSTS),
    ("*.paths", _PATHS),
    ("*.pathType", {"enum": ["Prefix", "Exact", "ImplementationSpecific"]}),
    ("*.dnsPolicy", {"enum": ["", "ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"]}),
    ("*.minReplicas", {"minimum": 1}),
    ("*.maxReplicas", {"minimum": 1}),
    ("gateway.autoscaling.connections.targetPercent", _PERCENT),
    ("*.cpu.targetPercent", {"minimum": 1}),
    ("*.pollingIntervalSeconds", {"minimum": 1}),
    ("*.scaleUp.pods", {"minimum": 1}),
    ("*.scaleUp.percent", {"minimum": 1}),
    ("*.scaleDown.pods", {"minimum": 1}),
    ("*.stabilizationSeconds", {"maximum": 3_600}),
    ("*.scaleDown.periodSeconds", {"minimum": 1, "maximum": 1_800}),
    ("*.rollout.maxSurge", _COUNT_OR_SHARE),
    ("*.pdb.maxUnavailable", _COUNT_OR_SHARE),
    ("*.probes.*Seconds", {"minimum": 1}),
    ("*.probes.*.failureThreshold", {"minimum": 1}),
    ("metrics.runbookUrl", {**_WEB_URL, "minLength": 1}),
    ("*.interval", _DURATION),
    ("*.scrapeTimeout", _DURATION),
    ("*.httpRoute.requestTimeout", {"pattern": r"^([0-9]+(ms|[smh]))*$"}),
)
"""By path. A later entry adds to an earlier one. `type` replaces the type of the default."""

OF_PARENT: Final[Schema] = {
    "enabled": {
        "type": "boolean",
        "description": "For a parent's `condition: clarion.enabled`. The chart does not read it.",
    },
    "global": {
        "type": "object",
        "description": "Values that a parent chart shares with all its parts.",
        "properties": {
            "imageRegistry": {
                "type": "string",
                "pattern": rf"^({_AUTHORITY}(/[a-z0-9._/-]+)?)?$",
                "description": "Replaces the registry of every image.",
            },
            "imagePullSecrets": {
                "type": "array",
                "items": {"type": ["string", "object"]},
                "description": "Names of Secrets, or `- name: …`, beside image.pullSecrets.",
            },
        },
    },
}
"""Values that helm adds where this chart is a part of another one."""

FREE: Final = ("*affinity", "*SecurityContext", "*.dnsConfig")
"""Maps that Kubernetes defines, or whose names users choose. All others refuse unknown keys."""
