"""A release in the cluster that ``KUBECONFIG`` names. Without one, these tests are skipped."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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
def _namespace(scratch: Path) -> Iterator[Cluster]:
    """A namespace for these tests; everything in it is deleted with it."""
    missing = [name for name in ("KUBECONFIG", "CLARION_IMAGE") if not os.environ.get(name)]
    if missing:
        pytest.skip(f"no cluster to try it in: {' and '.join(missing)} not set")
    name = f"clarion-test-{uuid.uuid4().hex[:8]}"
    cluster = Cluster(find_kubectl(), _helm(), name, scratch)
    cluster.apply(namespace_object(cluster.namespace))
    try:
        yield cluster
    finally:
        cluster.run("delete", "namespace", cluster.namespace, "--wait=true", seconds=300)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A release with fixed replicas and a witness, for all tests that leave it unchanged."""
    with _namespace(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.install()
        cluster.call_witness()
        yield cluster


@pytest.fixture
def empty_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A namespace without a release."""
    with _namespace(tmp_path) as cluster:
        yield cluster
