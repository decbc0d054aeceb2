"""A release in the cluster that ``KUBECONFIG`` names. Without one, these tests are skipped."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chart.helm import Helm, Unavailable, find_helm, find_kubectl
from tests.cluster.cluster import Cluster, namespace_object


def _helm() -> Helm:
    try:
        return find_helm("helm4")
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def helm() -> Helm:
    return _helm()


@contextmanager
def namespace_of_release(scratch: Path) -> Iterator[Cluster]:
    """A namespace for these tests; everything in it is deleted with it."""
    _need("KUBECONFIG", "CLARION_IMAGE")
    with bare_namespace(Cluster(find_kubectl(), _helm(), "", scratch)) as cluster:
        yield cluster


def _need(*variables: str) -> None:
    missing = [name for name in variables if not os.environ.get(name)]
    if missing:
        pytest.skip(f"no cluster to try it in: {' and '.join(missing)} not set")


@contextmanager
def bare_namespace(cluster: Cluster) -> Iterator[Cluster]:
    """A namespace of its own for this cluster; needs no image."""
    _need("KUBECONFIG")
    cluster = replace(cluster, namespace=f"clarion-test-{uuid.uuid4().hex[:8]}")
    cluster.apply(namespace_object(cluster.namespace))
    try:
        yield cluster
    finally:
        # Without waiting where only the API runs: then nothing ends the namespace.
        wait = "true" if os.environ.get("CLARION_IMAGE") else "false"
        cluster.run("delete", "namespace", cluster.namespace, f"--wait={wait}", seconds=300)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A release with fixed replicas and a witness, for all tests that leave it unchanged."""
    with namespace_of_release(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.install()
        cluster.call_witness()
        yield cluster


@pytest.fixture
def empty_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A namespace without a release."""
    with namespace_of_release(tmp_path) as cluster:
        yield cluster
