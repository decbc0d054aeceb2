"""The promises of `helm install` in a real cluster: nothing is lost while pods come and go.

``KUBECONFIG=… CLARION_IMAGE=registry/clarion:tag pytest tests/cluster``. `tests.cluster.cluster`
says what the cluster needs.
"""

from __future__ import annotations

import json

import pytest

from clarion_gateway.fleet.pod_deletion_cost import ANNOTATION
from deploy.helm.pages import CHART
from tests.cluster.cluster import MINUTE, RELEASE, Cluster, eventually
from tests.e2e.watch import Watch

CLIENTS = 24

pytestmark = pytest.mark.timeout(20 * MINUTE)


def lost_nothing(watch: Watch) -> None:
    assert watch.seen.nothing_lost(), watch.seen


def names(cluster: Cluster, component: str) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in cluster.pods(component))


def test_the_charts_own_test_passes(cluster: Cluster) -> None:
    assert "Phase:          Succeeded" in cluster.release("test", RELEASE, wait=False)


def test_three_audiences_reach_every_client_on_every_pod(cluster: Cluster) -> None:
    """Through the Services: an event is published on one pod and delivered on all."""
    with cluster.watched("--clients", str(CLIENTS)) as watch:
        watch.wait(published=50)
    lost_nothing(watch)
    assert watch.seen.reconnects == 0
    assert watch.seen.pods == names(cluster, "gateway")


def test_pods_spread_over_the_nodes(cluster: Cluster) -> None:
    """So that the loss of one node is not that of all gateways, whether nodes have a zone or not."""
    nodes = [one for one in cluster.get("nodes")["items"] if not one["spec"].get("taints")]
    if len(nodes) < 2:
        pytest.skip("the cluster has one node")
    pods = cluster.pods("gateway")
    assert len({pod["spec"]["nodeName"] for pod in pods}) > 1


def test_a_rolling_restart_loses_nothing(cluster: Cluster) -> None:
    before = names(cluster, "gateway") + names(cluster, "publisher")
    with cluster.watched("--clients", str(CLIENTS)) as watch:
        for component in ("gateway", "publisher"):
            cluster.run("rollout", "restart", f"deployment/{RELEASE}-{component}")
        cluster.rolled_out()
        # The last old pods still drain when the roll-out is over.
        eventually(
            lambda: not set(before) & _all_pods(cluster),
            seconds=2 * MINUTE,
            what=lambda: _all_pods(cluster),
        )
    lost_nothing(watch)
    assert watch.seen.reconnects >= CLIENTS, "every client was sent to a new pod"


def _all_pods(cluster: Cluster) -> set[str]:
    """Names of all pods, including those that are being deleted."""
    return {pod["metadata"]["name"] for pod in cluster.get("pods")["items"]}


@pytest.mark.parametrize("how", [(), ("--grace-period=0", "--force")], ids=["ends", "is killed"])
@pytest.mark.parametrize("component", ["gateway", "publisher"])
def test_a_pod_that_goes_takes_nothing_along(
    cluster: Cluster, component: str, how: tuple[str, ...]
) -> None:
    gone = names(cluster, component)[0]
    with cluster.watched("--clients", str(CLIENTS)) as watch:
        cluster.run("delete", "pod", gone, *how, seconds=2 * MINUTE)
        cluster.rolled_out()
    lost_nothing(watch)
    assert gone not in names(cluster, component)


def test_a_node_that_is_drained_takes_one_gateway_at_a_time(cluster: Cluster) -> None:
    """Evictions, as `kubectl drain` requests them: the second must wait until the first pod is
    replaced.
    """
    first, second, _ = names(cluster, "gateway")
    with cluster.watched("--clients", str(CLIENTS)) as watch:
        evict(cluster, first)
        with pytest.raises(AssertionError, match="disruption budget"):
            evict(cluster, second)
        cluster.rolled_out()
        evict(cluster, second)
        cluster.rolled_out()
    lost_nothing(watch)
    assert not {first, second} & set(names(cluster, "gateway"))


def evict(cluster: Cluster, pod: str) -> None:
    """Ask for a pod's eviction.

    Raises:
        AssertionError: refused.
    """
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    cluster.run("create", "--raw", path, "--filename=-", stdin=json.dumps(eviction))


def test_an_upgrade_and_the_way_back_lose_nothing(cluster: Cluster) -> None:
    setting = "GATEWAY_PING_INTERVAL_SECONDS"

    def configured() -> str | None:
        found = cluster.get("configmap", f"{RELEASE}-gateway")["data"].get(setting)
        return None if found is None else str(found)

    before = names(cluster, "gateway")
    with cluster.watched("--clients", str(CLIENTS)) as watch:
        changed = ("--reset-then-reuse-values", "--set", f"gateway.settings.{setting}=20")
        cluster.release("upgrade", RELEASE, str(CHART), *changed)
        upgraded = configured()
        between = names(cluster, "gateway")
        cluster.release("rollback", RELEASE)
    lost_nothing(watch)
    assert upgraded == "20"
    assert configured() is None
    assert not set(before) & set(between)
    assert not set(between) & set(names(cluster, "gateway"))


def test_pods_tell_how_full_they_are(cluster: Cluster) -> None:
    """With a Role only for `pods/status`, the API accepts the annotation."""

    def told() -> list[int]:
        annotations = [pod["metadata"].get("annotations", {}) for pod in cluster.pods("gateway")]
        return [int(found.get(ANNOTATION, "0")) for found in annotations]

    with cluster.watched("--clients", str(CLIENTS)) as watch:
        eventually(lambda: sum(told()) == CLIENTS, seconds=MINUTE, what=told)
    lost_nothing(watch)
    eventually(lambda: sum(told()) == 0, seconds=MINUTE, what=told)


def test_a_valkey_that_moves_brings_its_events_along(empty_cluster: Cluster) -> None:
    """Meanwhile publishers answer 503. Clients stay connected, and catch up from Valkey's disk."""
    if not has_disks(empty_cluster):
        pytest.skip("the cluster has no default storage class")
    empty_cluster.install(["redis.valkey.persistence.enabled=true"])
    empty_cluster.call_witness()
    with empty_cluster.watched("--clients", str(CLIENTS)) as watch:
        watch.wait(published=10)
        empty_cluster.run("delete", "pod", f"{RELEASE}-valkey-0", seconds=MINUTE)
        empty_cluster.run(
            "rollout", "status", f"statefulset/{RELEASE}-valkey", "--timeout=120s",
            seconds=2 * MINUTE + 10,
        )  # fmt: skip
        watch.wait(published=10)
    lost_nothing(watch)
    assert watch.seen.refused > 0
    assert watch.seen.reconnects == 0


def test_uninstalling_leaves_nothing(empty_cluster: Cluster) -> None:
    """Neither objects nor a disk, if the cluster has disks."""
    persistence = str(has_disks(empty_cluster)).lower()
    empty_cluster.install([f"redis.valkey.persistence.enabled={persistence}"])
    before = _left(empty_cluster)
    empty_cluster.release("uninstall", RELEASE)
    assert f"service/{RELEASE}-gateway" in before
    eventually(
        lambda: not _left(empty_cluster), seconds=3 * MINUTE, what=lambda: _left(empty_cluster)
    )


def has_disks(cluster: Cluster) -> bool:
    """Whether there is a default storage class."""
    classes = cluster.get("storageclass")["items"]
    default = "storageclass.kubernetes.io/is-default-class"
    return any(one["metadata"].get("annotations", {}).get(default) == "true" for one in classes)


def _left(cluster: Cluster) -> list[str]:
    """All objects of the release, of every kind, and helm's own record."""
    listed = cluster.run("api-resources", "--namespaced", "--verbs=list,delete", "--output=name")
    kinds = sorted(set(listed.split()) - {"events", "events.events.k8s.io"})
    found = cluster.run(
        "get", ",".join(kinds), "--output=name", "--ignore-not-found",
        "--selector", f"app.kubernetes.io/instance={RELEASE}",
        seconds=2 * MINUTE,
    )  # fmt: skip
    records = cluster.run(
        "get", "secrets", "--output=name", "--selector", f"owner=helm,name={RELEASE}"
    )
    return found.split() + records.split()
