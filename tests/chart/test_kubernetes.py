"""Kubernetes and the operators accept every rendered object; unknown fields are errors."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from kubernetes_validate import utils as kubernetes  # type: ignore[import-untyped]

from tests.chart.helm import CI_VALUES, Helm, Object, Rendered, rendered_once

_CRDS: Final = Path(__file__).parents[2].parent / "shared" / "crds"
_VERSIONS: Final = list(dict.fromkeys(map(kubernetes.major_minor, kubernetes.all_versions())))[-4:]
_schema_contents = functools.cache(kubernetes.schema_contents)
_BUILT_IN: Final = {
    "v1",
    "apps/v1",
    "autoscaling/v2",
    "networking.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
}


@pytest.fixture(autouse=True)
def _schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached: a version's definitions are megabytes of JSON, and every object needs them."""
    monkeypatch.setattr(kubernetes, "schema_contents", _schema_contents)


@pytest.mark.parametrize("version", _VERSIONS)
def test_kubernetes_knows_every_field(rendered: Rendered, version: str) -> None:
    for found in rendered.objects:
        if found["apiVersion"] in _BUILT_IN:
            kubernetes.validate(found, version, strict=True)


def test_kubernetes_refuses_an_unknown_field() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"selectr": {}}}
    with pytest.raises(jsonschema.ValidationError, match="selectr"):
        kubernetes.validate(service, _VERSIONS[-1], strict=True)


def test_operators_know_every_field(rendered: Rendered) -> None:
    custom = [found for found in rendered.objects if found["apiVersion"] not in _BUILT_IN]
    if custom and not _CRDS.is_dir():
        pytest.skip(f"no definitions of custom resources at {_CRDS}")
    for found in custom:
        _validator(found["apiVersion"], found["kind"]).validate(found)


def test_every_custom_kind_is_among_the_examples(helm: Helm) -> None:
    """A kind that no example renders would never be checked."""
    kinds = {found["kind"] for values in CI_VALUES for found in rendered_once(helm, values).objects}
    assert kinds >= {"HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject", "ServiceMonitor"}


def test_an_unknown_field_is_an_error() -> None:
    """The check of custom resources is strict, unlike the API server's own."""
    if not _CRDS.is_dir():
        pytest.skip(f"no definitions of custom resources at {_CRDS}")
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "x"},
        "spec": {"selector": {}, "podMetricsEndpoints": [{"port": "internal", "pathh": "/"}]},
    }
    with pytest.raises(jsonschema.ValidationError, match="pathh"):
        _validator("monitoring.coreos.com/v1", "PodMonitor").validate(monitor)


@functools.cache
def _validator(api_version: str, kind: str) -> Any:
    group, _, version = api_version.partition("/")
    for path in _CRDS.glob("*.yaml"):
        spec: Object = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
        if (spec["group"], spec["names"]["kind"]) == (group, kind):
            (found,) = [one for one in spec["versions"] if one["name"] == version]
            schema = _strict(found["schema"]["openAPIV3Schema"])
            return jsonschema.Draft202012Validator(schema)
    raise AssertionError(f"no definition of {api_version} {kind} in {_CRDS}")


def _strict(schema: Any) -> Any:
    """A definition's schema as JSON Schema that refuses fields which it does not name."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = {
        key: {name: _strict(below) for name, below in value.items()}
        if key == "properties"
        else _strict(value)
        for key, value in schema.items()
        if key not in {"format", "description"}
    }
    preserves = schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("properties") and "type" in schema and not preserves:
        strict.setdefault("additionalProperties", False)
    return strict
