"""Tells Kubernetes how many connections the pod holds, so that scaling down takes the emptiest pod.

A ReplicaSet removes pods with the least ``controller.kubernetes.io/pod-deletion-cost`` first. The
pod writes that annotation on itself, now and then and only when it has changed by much: each write
is one for the cluster's database. Nothing else depends on it; a write that fails is counted.
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
# Less than this is not worth a write: pods that differ by so little are equally good to remove.
_CHANGE: Final = 0.1
# Pods that started together do not write together.
_JITTER: Final = 0.2

_log = structlog.get_logger(__name__)


class PodDeletionCost:
    """Keeps one pod's annotation near its number of connections.

    Attributes:
        told: the number that Kubernetes was told last; a pod without the annotation counts as 0.
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
        """Write the number if it has changed by much. Never raises for what the API does."""
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
        """Patch through the subresource ``status``, which leaves the pod's spec out of reach.

        Token and authority are read anew each time: the kubelet replaces them in place.

        Raises:
            OSError: no service account, or no way to the API.
            KeyError: not in a cluster.
            ValueError: the service account holds no token or authority.
            httpx.HTTPError: the API did not answer, or refused.
        """
        pods = f"{_api(self._environment)}/api/v1/namespaces/{self._read('namespace')}/pods"
        authority = ssl.create_default_context(cafile=self._service_account / "ca.crt")
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


def _api(environment: Mapping[str, str]) -> str:
    """Where the kubelet says the API is."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    if ":" in host:
        host = f"[{host}]"
    return f"https://{host}:{environment['KUBERNETES_SERVICE_PORT_HTTPS']}"


def _reason(error: Exception) -> str:
    """One line, without the text of errors that quote a header: the token stands in one."""
    shown = isinstance(error, OSError | KeyError | httpx.ConnectError | httpx.HTTPStatusError)
    text = f"{type(error).__name__}: {error}" if shown else type(error).__name__
    return text.splitlines()[0]
