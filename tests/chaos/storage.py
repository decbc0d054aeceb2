"""Redis under chaos: one server with data on disk, a primary with Sentinels, or a cluster."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path

from tests.chaos.ledger import Ledger
from tests.chaos.moments import now_us
from tests.redis_topologies import Cluster, Sentinels, cluster, sentinels, wait_until
from tests.valkey import Valkey

REPLICAS = 2
_BACK_SECONDS = 60.0
# Far above what a busy machine holds a process up: nobody may fail over without our knowing.
_DOWN_MILLISECONDS = 2_000
# As docs/kubernetes.md advises: else one that hung takes writes after it was replaced.
_MIN_REPLICAS = 1


class Storage(ABC):
    """The Redis of all services. Its methods block: call them in a thread."""

    @abstractmethod
    def start(self) -> None:
        """Return when Redis answers."""

    @abstractmethod
    def stop(self) -> None:
        """Send SIGKILL."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for the services."""

    @property
    @abstractmethod
    def server(self) -> Valkey:
        """The server that takes writes now."""

    @property
    def servers(self) -> list[Valkey]:
        """All servers that take writes now."""
        return [self.server]


class SingleServer(Storage):
    """One server with its data on disk, so that answered writes survive a crash."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._ledger = ledger
        self._valkey = Valkey(folder, persist=True)
        folder.mkdir()

    @property
    def url(self) -> str:
        return self._valkey.url

    @property
    def server(self) -> Valkey:
        return self._valkey

    def start(self) -> None:
        self._valkey.start()

    def stop(self) -> None:
        self._valkey.kill()

    def restart(self, away_seconds: float, *, empty: bool) -> None:
        self._valkey.kill()
        time.sleep(away_seconds)
        if empty:
            shutil.rmtree(self._valkey.directory)
            self._valkey.directory.mkdir()
            self._ledger.wiped()
        self._valkey.start()


class Clustered(Storage):
    """Three primaries with a replica each, data in memory only."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._ends = contextlib.ExitStack()
        self._topology = Cluster([])

    @property
    def url(self) -> str:
        return self._topology.url

    @property
    def server(self) -> Valkey:
        return self._topology.primaries[0]

    @property
    def servers(self) -> list[Valkey]:
        return list(self._topology.primaries)

    def start(self) -> None:
        self._topology = self._ends.enter_context(cluster(self._folder))
        self._ledger.began_us = now_us()

    def stop(self) -> None:
        self._ends.close()

    def fail_over(self, away_seconds: float, *, number: int) -> None:
        """Kill a primary; its replica replaces it, and it returns as a replica."""
        old = self._topology.primaries[number]
        begin_us = now_us()
        old.kill()
        self._topology.wait_for_failover(old)
        time.sleep(away_seconds)
        old.start()
        wait_until(self._topology.in_step, "replicas in step", _BACK_SECONDS)
        self._ledger.failovers_us.append((begin_us, now_us()))


class Failover(Storage):
    """A primary with Sentinels. Data are in memory only: what replicas lack dies with the primary."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._ends = contextlib.ExitStack()
        self._topology = Sentinels([])

    @property
    def url(self) -> str:
        return self._topology.url

    @property
    def server(self) -> Valkey:
        return self._topology.primary

    def start(self) -> None:
        topology = sentinels(
            self._folder,
            replicas=REPLICAS,
            down_milliseconds=_DOWN_MILLISECONDS,
            min_replicas=_MIN_REPLICAS,
        )
        self._topology = self._ends.enter_context(topology)

    def stop(self) -> None:
        self._ends.close()

    def fail_over(self, away_seconds: float, *, hangs: bool) -> None:
        """Kill or hang the primary; another one replaces it, and it returns as a replica."""
        old = self._topology.primary
        begin_us = now_us()
        if hangs:
            old.signal(signal.SIGSTOP)
        else:
            old.kill()
        new = self._topology.wait_for_failover(old)
        time.sleep(away_seconds)
        if hangs:
            old.signal(signal.SIGCONT)
        else:
            self._start_replica(old, new)
        self._wait_for_replicas()
        self._ledger.failovers_us.append((begin_us, now_us()))

    def lose_replica(self, away_seconds: float) -> None:
        """A replica dies and returns; meanwhile no publish is confirmed."""
        primary, lost = self._topology.primary, self._topology.replicas[0]
        lost.kill()
        time.sleep(away_seconds)
        self._start_replica(lost, primary)
        self._wait_for_replicas()

    def _start_replica(self, node: Valkey, primary: Valkey) -> None:
        node.options = [
            *("--repl-diskless-sync-delay", "0"),
            *("--min-replicas-to-write", str(_MIN_REPLICAS)),
            *("--replicaof", f"127.0.0.1 {primary.port}"),
        ]
        node.start()

    def _wait_for_replicas(self) -> None:
        """Wait for replicas: a primary that hung learns only later that it was replaced."""
        wait_until(self._topology.in_step, "replicas in step", _BACK_SECONDS)
