"""Tells Kubernetes how many connections the pod holds, so that scaling down takes the emptiest pod.

A ReplicaSet removes the pods with the lowest ``controller.kubernetes.io/pod-deletion-cost`` first.
The pod writes that annotation on itself. It does so seldom, and only if the number has changed by
much, since each write is also one to the cluster's database. Nothing else depends on it. A write
that fails is counted.
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import httpx
import structlog

from clarion_gateway.metrics.registry import Metrics

ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_TIMEOUT_SECONDS: Final = 10.0
# A smaller change (a tenth) is not worth a write: it hardly matters which of two such pods goes.
_CHANGE: Final = 0.1
# Spreads the writes of pods that started together.
_JITTER: Final = 0.2

_log = structlog.get_logger(__name__)


class PodDeletionCost:
    """Keeps one pod's annotation near its number of connections.

    Attributes:
        told: the number that was written last. A pod without the annotation counts as 0.

    Args:
        connections: returns the pod's number of connections.
        service_account: directory with ``token``, ``namespace`` and ``ca.crt``.
        environment: with the address of the API, as the kubelet sets it.
    """

    def __init__(
        self,
        pod: str,
        connections: Callable[[], int],
        metrics: Metrics,
        *,
        interval_seconds: float,
        service_account: Path,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.told = 0
        self._pod = pod
        self._connections = connections
        self._patches = metrics.pod_deletion_cost_patches
        self._interval_seconds = interval_seconds
        self._service_account = service_account
        self._environment = environment
        self._failing = False

    async def run(self) -> None:
        """Write for ever, at most once per interval."""
        while True:
            jitter = random.uniform(1, 1 + _JITTER)  # noqa: S311 - spreads load, no secret
            await asyncio.sleep(self._interval_seconds * jitter)
            await self.write()

    async def write(self) -> None:
        """Write the number if it has changed by much. Errors of the API are logged and counted."""
        connections = self._connections()
        if abs(connections - self.told) <= _CHANGE * max(connections, self.told):
            return
        try:
            await self._patch(connections)
        except (OSError, KeyError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
            self._patches.labels("failed").inc()
            if not self._failing:  # once, not once a minute
                _log.warning("pod deletion cost not written", error=_reason(error))
            self._failing = True
        else:
            self._patches.labels("written").inc()
            self._failing = False
            self.told = connections

    async def _patch(self, connections: int) -> None:
        """Patch the annotation through the subresource ``status``.

        A role for that subresource cannot change the pod's spec. Token and certificate are read
        anew each time, since the kubelet replaces the files.

        Raises:
            OSError: there is no service account, or the API cannot be reached.
            KeyError: the pod does not run in a cluster.
            ValueError: the service account has no valid token or certificate.
            httpx.HTTPError: the API did not answer, or refused.
        """
        pods = f"{_api(self._environment)}/api/v1/namespaces/{self._read('namespace')}/pods"
        authority = _authority(self._service_account / "ca.crt")
        async with httpx.AsyncClient(
            verify=authority, trust_env=False, timeout=_TIMEOUT_SECONDS
        ) as client:
            response = await client.patch(
                f"{pods}/{self._pod}/status",
                json={"metadata": {"annotations": {ANNOTATION: str(connections)}}},
                headers={
                    "Authorization": f"Bearer {self._read('token')}",
                    "Content-Type": "application/merge-patch+json",
                },
            )
            response.raise_for_status()

    def _read(self, name: str) -> str:
        return (self._service_account / name).read_text().strip()


def _authority(path: Path) -> ssl.SSLContext:
    """Trust in the cluster's own authority.

    Python 3.13 and newer refuse authorities without the extensions that RFC 5280 asks for. Clusters
    that are some years old have such, and all other clients of Kubernetes take them.
    """
    context = ssl.create_default_context(cafile=path)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _api(environment: Mapping[str, str]) -> str:
    """The URL of the API, by the variables that the kubelet sets."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    if ":" in host:
        host = f"[{host}]"
    return f"https://{host}:{environment['KUBERNETES_SERVICE_PORT_HTTPS']}"


def _reason(error: Exception) -> str:
    """One line about an error. Texts that might quote a header are left out: it has the token."""
    shown = isinstance(error, OSError | KeyError | httpx.ConnectError | httpx.HTTPStatusError)
    text = f"{type(error).__name__}: {error}" if shown else type(error).__name__
    return text.splitlines()[0]
