"""A publisher that cannot publish is not ready, says why, and tells callers whether to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from clarion_contract.redis import faults, version
from clarion_contract.redis.faults import Fault
from clarion_contract.service.settings import InvalidSettings
from clarion_publisher.sources.http import problems
from tests.publisher.service import Service, serving
from tests.publisher.sources.http.test_routes import assert_problem
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

EVENT = {"audience": "all", "type": "tick", "data": 1, "key": "k"}
USER = "app:pw@"

# The fault; options of the server; commands of its operator; the URL's scheme, login and path.
CASES: dict[str, tuple[Fault, tuple[str, ...], tuple[str, ...], str, str, str]] = {
    "no scripts": (
        faults.PERMISSIONS, (), ("ACL SETUSER app on >pw ~* &* +@all -evalsha",), "redis", USER, "",
    ),
    "no loading of scripts": (
        faults.PERMISSIONS, (), ("ACL SETUSER app on >pw ~* &* +@all -script|load",), "redis", USER,
        "",
    ),
    "no channels": (
        faults.PERMISSIONS, (), ("ACL SETUSER app on >pw ~* resetchannels +@all",), "redis", USER,
        "",
    ),
    "no keys": (faults.PERMISSIONS, (), ("ACL SETUSER app on >pw &* +@all",), "redis", USER, ""),
    "a command that only keys need": (
        faults.PERMISSIONS, (), ("ACL SETUSER app on >pw ~* &* +@all -get",), "redis",
        USER, "",
    ),
    "a wrong password": (faults.LOGIN, ("--requirepass", "right"), (), "redis", ":wrong@", ""),
    "no password": (faults.LOGIN, ("--requirepass", "right"), (), "redis", "", ""),
    "a replica": (
        faults.READ_ONLY, (), ("REPLICAOF 127.0.0.1 1", "CONFIG SET replica-serve-stale-data yes"),
        "redis", "", "",
    ),
    "no memory": (faults.MEMORY, (), ("CONFIG SET maxmemory 1",), "redis", "", ""),
    "a node of a cluster": (faults.CLUSTER_NODE, ("--cluster-enabled", "yes"), (), "redis", "", ""),
    "no cluster": (faults.NO_CLUSTER, (), (), "redis+cluster", "", ""),
    "a database too many": (faults.DATABASE, (), (), "redis", "", "/99"),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Fault, str]]:
    fault, options, commands, scheme, login, path = CASES[request.param]
    server = Valkey(tmp_path, options=options)
    with ExitStack() as stack:
        stack.callback(server.kill)
        password = options[1] if "--requirepass" in options else None
        server.start(password=password)
        admin = stack.enter_context(redis.Redis(port=server.port, password=password))
        for command in commands:
            admin.execute_command(*command.split())
        yield fault, f"{scheme}://{login}127.0.0.1:{server.port}{path}"


def reasons(service: Service) -> list[str]:
    return list(service.internal("/readyz").json()["reasons"])


def test_what_does_not_pass_by_waiting(case: tuple[Fault, str], namespace: str) -> None:
    fault, url = case
    with serving(url, namespace=namespace) as service, service.client(timeout=60) as client:
        wait_until(lambda: any(fault.advice in each for each in reasons(service)), fault.name)
        problem = assert_problem(client.post("/v1/events", json=EVENT), problems.BUS_REFUSED)
        assert fault.advice in problem["detail"]
        assert problem["retryable"] is False
        assert "retry_after_seconds" not in problem
        assert service.metric(f'clarion_publisher_bus_fault{{fault="{fault.name}"}}') == 1
        assert service.metric("clarion_publisher_ready") == 0


def test_memory_that_is_there_again(valkey: Valkey, namespace: str) -> None:
    with (
        serving(valkey.url, namespace=namespace) as service,
        service.client() as client,
        redis.Redis(port=valkey.port) as admin,
    ):
        wait_until(lambda: not reasons(service), "ready")
        admin.config_set("maxmemory", 1)
        assert_problem(client.post("/v1/events", json=EVENT), problems.BUS_REFUSED)
        wait_until(lambda: bool(reasons(service)), "not ready")
        admin.config_set("maxmemory", 0)
        wait_until(lambda: not reasons(service), "ready")
        assert client.post("/v1/events", json=EVENT).status_code == 201
        assert service.metric('clarion_publisher_bus_fault{fault="memory"}') == 0


def test_a_primary_that_has_just_become_a_replica_may_be_a_failover(
    valkey: Valkey, namespace: str
) -> None:
    """Its name may lead to the new primary in a moment, so waiting helps."""
    with (
        serving(valkey.url, namespace=namespace) as service,
        service.client() as client,
        redis.Redis(port=valkey.port) as admin,
    ):
        wait_until(lambda: not reasons(service), "ready")
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        problem = assert_problem(client.post("/v1/events", json=EVENT), problems.BUS_UNAVAILABLE)
        assert problem["retryable"] is True
        wait_until(lambda: bool(reasons(service)), "not ready")
        admin.execute_command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: not reasons(service), "ready")


def test_an_old_redis_is_refused_at_the_start(
    valkey: Valkey, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "OLDEST", (99, 0))
    with (
        pytest.raises(InvalidSettings, match=r"CLARION_REDIS_URL: Redis has version 7\.2"),
        serving(valkey.url, namespace=namespace) as service,
    ):
        service.stop()


def test_an_old_redis_that_appears_later_is_not_used(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "OLDEST", (99, 0))
    server = Valkey(tmp_path)
    with serving(server.url, namespace=namespace) as service:
        wait_until(lambda: bool(reasons(service)), "not ready")
        server.start()
        try:
            wait_until(
                lambda: any(faults.VERSION.advice in each for each in reasons(service)), "why"
            )
        finally:
            server.kill()
