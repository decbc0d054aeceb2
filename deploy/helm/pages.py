"""Generates the chart's README.md and values.schema.json from values.yaml and the settings classes.

Names, defaults and descriptions come from values.yaml, whose comments are the documentation. Types
follow from the defaults; `refinements.py` adds what a default cannot say. A test compares both
files with the generated text. To write them again, run ``python -m deploy.helm.pages``.
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

from clarion_contract.service.settings import ContractSettings, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings
from deploy.helm.refinements import FREE, OBJECTS, OF_PARENT, REFINEMENTS, Schema

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

Default = bool | int | str | list[Any] | dict[str, Any]

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
    root["properties"] |= OF_PARENT
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
    for pattern, refinement in REFINEMENTS:
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
            return dict(OBJECTS)
        case dict() if any(fnmatchcase(path, pattern) for pattern in FREE):
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
