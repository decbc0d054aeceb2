"""Generates the chart's README.md and values.schema.json from values.yaml and the settings classes.

Names, defaults and descriptions come from values.yaml, whose comments are the documentation. Types
follow from the defaults; `_REFINEMENTS` adds what a default cannot say. A test compares both files
with the generated text. To write them again, run ``python -m deploy.helm.pages``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

from clarion_contract.events.topic_rules import TopicRule
from clarion_contract.service.settings import ContractSettings, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings

CHART: Final = Path(__file__).parent / "clarion"
VALUES: Final = CHART / "values.yaml"
README: Final = CHART / "README.md"
SCHEMA: Final = CHART / "values.schema.json"

ELSEWHERE: Final = {
    "CLARION_POD": "the pod's name",
    "GATEWAY_POD_IP": "the pod's address",
    "CLARION_TOPIC_RULES": "topicRules",
    "CLARION_REDIS_URL": "redis",
    "CLARION_REDIS_USERNAME": "redis.login.existingSecret",
    "CLARION_REDIS_PASSWORD": "redis.login.existingSecret",
    "CLARION_JWT_SECRET": "auth.secret, auth.existingSecret",
    "CLARION_JWT_PUBLIC_KEY": "auth.publicKey",
    "CLARION_JWT_JWKS_URL": "auth.jwksUrl",
    "CLARION_CATALOGUE": "catalogue.files, catalogue.existingConfigMap",
    "GATEWAY_HANDLERS": "gateway.handlers.name",
    "PUBLISHER_OUTBOX_URL": "publisher.outbox",
    "PUBLISHER_OUTBOX_USERNAME": "publisher.outbox.login.existingSecret",
    "PUBLISHER_OUTBOX_PASSWORD": "publisher.outbox.login.existingSecret",
    "PUBLISHER_SOCKETIO_REDIS_URL": "publisher.socketio",
    "GATEWAY_UPSTREAM_URL": "gateway.upstream.url",
    "GATEWAY_UPSTREAM_SECRET": "gateway.upstream.existingSecret",
    "GATEWAY_POD_DELETION_COST": "gateway.podDeletionCost.enabled",
}
"""Settings that cannot stand in a `settings` map, and the values that set them instead."""

Schema = dict[str, Any]
Default = bool | int | str | list[Any] | dict[str, Any]

_STRINGS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS: Final[Schema] = {"type": "array", "items": {"type": "object"}}
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

# By path. A later entry adds to an earlier one. `type` replaces the type of the default.
_REFINEMENTS: Final[tuple[tuple[str, Schema], ...]] = (
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

# Where this chart is a part of another one, helm adds these to its values.
_OF_PARENT: Final[Schema] = {
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

# Maps that Kubernetes defines, or whose names users choose. All other maps refuse unknown keys.
_FREE: Final = ("*affinity", "*SecurityContext", "*.dnsConfig")

_TABLE: Final = ("| value | default | meaning |", "|---|---|---|")

_INTRODUCTION: Final = """\
<!-- Made by deploy/helm/pages.py. Change that file or values.yaml, then run
     `python -m deploy.helm.pages`. -->

# Clarion's chart

This page is for operators. It lists every value of the chart.

The chart installs gateway pods, which hold sockets, and publisher pods, which take events. Between
them is your own Redis, or a small Valkey for trying Clarion out. The chart needs Kubernetes 1.29 or
newer and helm 3.17 or newer. [docs/kubernetes.md](../../../docs/kubernetes.md) explains how to
install, scale, upgrade and observe.

Each connection is an open file. So the node must allow a gateway's process 22,288 of them with the
default settings, and a publisher's 10,288 (the hard limit, `ulimit -Hn`). containerd and Docker
allow more, if nobody has changed it. With less, the pods take fewer connections and say so:
[open files](../../../docs/kubernetes.md#open-files).

```sh
helm install clarion deploy/helm/clarion \\
  --set image.repository=registry.example.com/clarion \\
  --set auth.secret="$(openssl rand -hex 32)" \\
  --set redis.valkey.enabled=true
```

[ci/](ci) has whole examples of values, and [controllers/](controllers) has values for common
ingress controllers. As a part of another chart, it takes `condition: clarion.enabled`,
`global.imageRegistry` and `global.imagePullSecrets`. helm refuses unknown keys, values out of range
and values that contradict one another before anything reaches the cluster.

`settings`, `gateway.settings` and `publisher.settings` take every variable of
[docs/settings.md](../../../docs/settings.md) by its name. The following variables are exceptions,
since they have values of their own:

"""


@dataclass(frozen=True, slots=True)
class Value:
    """One key of values.yaml.

    Attributes:
        path: dotted, e.g. ``gateway.pdb.enabled``.
        description: the comment above the key, in one line.
    """

    path: str
    description: str
    default: Default


def values() -> Iterator[Value]:
    """Every key of values.yaml in order, with the comment above it."""
    text = VALUES.read_text()
    parsed = yaml.safe_load(text)
    comment: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := re.match(r"( *)# ?(.*)", line):
            comment.append(match[2])
        elif match := re.match(r"( *)([^\s:]+):", line):
            indent = len(match[1])
            parents = [*(parent for parent in parents if parent[0] < indent), (indent, match[2])]
            default = parsed
            for _, key in parents:
                default = default[key]
            yield Value(".".join(key for _, key in parents), " ".join(comment), default)
            comment = []
        else:
            comment = []


def schema() -> Schema:
    """values.schema.json: JSON Schema draft 7, which helm 3 and helm 4 read."""
    described = {value.path: value.description for value in values()}
    root = _node("", yaml.safe_load(VALUES.read_text()), described)
    root["properties"] |= _OF_PARENT
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of Clarion's chart",
        **root,
    }


def setting_schemas(cls: type[ContractSettings]) -> dict[str, Schema]:
    """A schema for each variable of a class that may stand in a `settings` map."""
    fields = cls.model_json_schema(by_alias=False)["properties"]
    return {
        name: _setting(name, fields[field])
        for field in cls.model_fields
        if (name := variable(cls, field)) not in ELSEWHERE
    }


def readme() -> str:
    """README.md: an introduction, and a table for each part of values.yaml."""
    lines = [_INTRODUCTION + "| variable | set by |\n|---|---|"]
    lines += [f"| `{name}` | {by} |" for name, by in ELSEWHERE.items()]
    lines += ["", "## All of the chart", "", *_TABLE]
    for value in values():
        branch = isinstance(value.default, dict) and bool(value.default)
        if "." not in value.path and (branch or value.path == "settings"):
            lines += ["", f"## {value.path}", ""]
            lines += [value.description] if value.description else []
            lines += ["", *_TABLE] if branch else []
        elif not branch:
            default = json.dumps(value.default, ensure_ascii=False)
            lines.append(f"| `{value.path}` | `{default}` | {_cell(value.description)} |")
        elif value.description:
            lines.append(f"| `{value.path}` | | {_cell(value.description)} |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _node(path: str, default: Default, described: Mapping[str, str]) -> Schema:
    """The schema of one value and of the values below it."""
    node: Schema = {}
    if description := described.get(path):
        node["description"] = description
    if isinstance(default, dict) and _is_settings(path):
        return node | _settings_map(path, default, described)
    if re.fullmatch(r"(gateway|publisher)\.auth", path):
        return node | _without_description(_node("auth", _auth(), described))
    node |= _of_default(path, default, described)
    for pattern, refinement in _REFINEMENTS:
        if fnmatchcase(path, pattern):
            if refinement.get("type") == "object":
                node.pop("properties", None)
            node |= refinement
    return node


def _of_default(path: str, default: Default, described: Mapping[str, str]) -> Schema:
    match default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case str():
            return {"type": "string"}
        case list():
            return dict(_OBJECTS)
        case dict() if any(fnmatchcase(path, pattern) for pattern in _FREE):
            return {"type": "object"}
        case dict():
            children = {
                key: _node(f"{path}.{key}".lstrip("."), below, described)
                for key, below in default.items()
            }
            return {"type": "object", "additionalProperties": False, "properties": children}


def _auth() -> dict[str, Any]:
    auth: dict[str, Any] = yaml.safe_load(VALUES.read_text())["auth"]
    return auth


def _without_description(node: Schema) -> Schema:
    return {key: value for key, value in node.items() if key != "description"}


def _is_settings(path: str) -> bool:
    return path in {"settings", "gateway.settings", "publisher.settings"}


def _settings_map(path: str, default: Mapping[str, Any], described: Mapping[str, str]) -> Schema:
    classes: dict[str, type[ContractSettings]] = {
        "gateway.settings": GatewaySettings,
        "publisher.settings": PublisherSettings,
    }
    properties = setting_schemas(classes.get(path, ContractSettings))
    for name in default:  # add why the chart sets it to the setting's own description
        properties[name]["description"] += f" {described[f'{path}.{name}']}"
    node: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return node | ({"required": sorted(default)} if default else {})


def _setting(name: str, field: Schema) -> Schema:
    node = {key: value for key, value in field.items() if key not in {"title", "anyOf"}}
    for alternative in field.get("anyOf", []):
        if alternative.get("type") != "null":
            node |= alternative
    if node.get("type") == "array":  # a YAML list, or commas as in the variable itself
        node["type"] = ["array", "string"]
    if name.endswith("_PORT"):  # 0 picks a free port, which no Service could find
        node["minimum"] = 1
    if node.get("default", "") is None:
        del node["default"]
    return node


def main() -> None:
    """Write both files."""
    README.write_text(readme())
    SCHEMA.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
