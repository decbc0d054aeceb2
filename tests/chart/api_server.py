"""The part of a Kubernetes API server that helm's `lookup` asks: discovery, and objects by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.helm import NAMESPACE, Object

_KINDS: Final = {
    "v1": ["ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment", "StatefulSet"],
    "autoscaling/v2": ["HorizontalPodAutoscaler"],
    "policy/v1": ["PodDisruptionBudget"],
}


@contextmanager
def api_server(folder: Path, *objects: Object) -> Iterator[Path]:
    """Serve these objects of the release's namespace; gives a kubeconfig for helm."""
    answers = _discovery() | {_path(found): found for found in objects}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps(answer or _not_found()).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: failures show in helm's own output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield _kubeconfig(folder, server.server_port)
        finally:
            server.shutdown()


def deployment(
    component: str,
    replicas: int,
    *,
    applied: bool = False,
    scaled: bool = False,
    **annotations: str,
) -> Object:
    """A Deployment as the cluster has it.

    Args:
        applied: whether helm made it on the server, as helm 4 does.
        scaled: whether somebody else has set the number since.
    """
    helms = {"manager": "helm", "operation": "Apply" if applied else "Update"}
    managed = [helms | {"fieldsV1": {"f:spec": {} if scaled else {"f:replicas": {}}}}]
    if scaled:
        autoscalers = {"manager": "kube-controller-manager", "operation": "Update"}
        scale = {"subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
        managed.append(autoscalers | scale)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"release-clarion-{component}",
            "namespace": NAMESPACE,
            "annotations": annotations,
            "managedFields": managed,
        },
        "spec": {"replicas": replicas},
    }


def autoscaler(name: str) -> Object:
    """A HorizontalPodAutoscaler as the cluster has it."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"maxReplicas": 20},
    }


def _path(found: Object) -> str:
    plural = f"{found['kind'].lower()}s"
    return (
        f"/apis/{found['apiVersion']}/namespaces/{NAMESPACE}/{plural}/{found['metadata']['name']}"
    )


def _discovery() -> dict[str, Any]:
    """The answers from which helm learns which kinds there are."""
    answers: dict[str, Any] = {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    groups = []
    for group_version, kinds in _KINDS.items():
        group, _, version = group_version.rpartition("/")
        if group:
            served = {"groupVersion": group_version, "version": version}
            groups.append({"name": group, "versions": [served], "preferredVersion": served})
        answers[f"/{'apis' if group else 'api'}/{group_version}"] = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": [
                {"name": f"{kind.lower()}s", "namespaced": True, "kind": kind, "verbs": ["get"]}
                for kind in kinds
            ],
        }
    answers["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return answers


def _not_found() -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "NotFound",
        "code": 404,
    }


def _kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path
