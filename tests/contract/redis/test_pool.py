"""`clarion_contract.redis.pool`: no use of a pooled connection fails because it was ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.asyncio.connection import AbstractConnection

from clarion_contract.bus.bus import Answer, Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.events.audience import ALL, user_audience
from clarion_contract.events.event import Publication, Published
from clarion_contract.redis import pool
from clarion_contract.redis.keyspace import Keyspace
from tests.proxy import Link, Proxy, proxied
from tests.redis_topologies import Cluster, Sentinels, cluster, sentinels, wait_until
from tests.valkey import Valkey

LIMITS = HistoryLimits(1_000, 60, 60)
PROTOCOLS = (2, 3)


def bus_at(url: str, *, clustered: bool = False) -> Bus:
    return Bus(redis_from_url(url), Keyspace("pool-test", clustered=clustered), LIMITS)


async def use(bus: Bus, mark: int) -> None:
    """Every kind of use: publishing, reading a log, another command."""
    publications = [
        Publication(audience, "tick", b"%d" % mark) for audience in (ALL, user_audience("alice"))
    ]
    answers: list[Answer] = await bus.publish(publications)
    assert all(isinstance(answer, Published) for answer in answers), answers
    await bus.history([(ALL, 0)], limit=1)
    await bus.ping()


async def several(bus: Bus) -> None:
    """Open several connections, so that each has to be found out."""
    await asyncio.gather(*(use(bus, 0) for _ in range(6)))


async def published(bus: Bus) -> list[bytes]:
    (history,) = await bus.history([(ALL, 0)], limit=100, broken_too=True)
    return [event.data for event in history.events if event.data != b"0"]


async def noticed() -> None:
    """Let the loop hear of all that has reached this process."""
    for _ in range(5):
        await asyncio.sleep(0.01)


@pytest.fixture
def never_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection counts as idle for long, so none is asked with a PING."""
    monkeypatch.setattr(pool, "_IDLE_SECONDS", 1e9)


@pytest.fixture
def always_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_IDLE_SECONDS", -1.0)


@pytest.fixture(scope="module")
def behind_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with sentinels(tmp_path_factory.mktemp("sentinels"), replicas=1) as topology:
        yield topology


@pytest.fixture(scope="module")
def of_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as topology:
        yield topology


class TestBehindAProxy:
    @pytest.fixture
    async def proxy(self, valkey: Valkey) -> AsyncIterator[Proxy]:
        async with proxied(valkey.port) as proxy:
            yield proxy

    @pytest.mark.usefixtures("never_asks")
    @pytest.mark.parametrize("end", [Link.close, Link.reset])
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_the_proxy_ends_connections(
        self, proxy: Proxy, end: Callable[[Link], None], protocol: int
    ) -> None:
        bus = bus_at(f"{proxy.url}?protocol={protocol}")
        await several(bus)
        for mark in (1, 2, 3):
            for link in tuple(proxy.links):
                end(link)
            await noticed()
            await use(bus, mark)
        assert await published(bus) == [b"1", b"2", b"3"]
        await bus.aclose()

    @pytest.mark.usefixtures("always_asks")
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_the_proxy_forgets_connections(self, proxy: Proxy, protocol: int) -> None:
        """It answers the next packet with a RST: nothing tells of it before."""
        bus = bus_at(f"{proxy.url}?protocol={protocol}")
        await several(bus)
        for mark in (1, 2):
            for link in proxy.links:
                link.forgotten = True
            await use(bus, mark)
        assert await published(bus) == [b"1", b"2"]
        await bus.aclose()

    @pytest.mark.usefixtures("always_asks")
    async def test_connections_become_silent(
        self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Packets vanish, as behind a NAT that lost its table. The publish does not run twice."""
        monkeypatch.setattr(pool, "_ANSWER_SECONDS", 0.1)
        bus = bus_at(proxy.url)
        await several(bus)
        for link in proxy.links:
            link.silent = True
        await use(bus, 1)
        monkeypatch.undo()
        assert await published(bus) == [b"1"]
        await bus.aclose()


class TestByTheServer:
    @pytest.mark.usefixtures("never_asks")
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_it_ends_idle_connections(self, valkey: Valkey, protocol: int) -> None:
        bus = bus_at(f"{valkey.url}?protocol={protocol}")
        await several(bus)
        with redis.Redis(port=valkey.port) as admin:
            admin.config_set("timeout", 1)
            await asyncio.to_thread(wait_until, lambda: _others(admin) == 0, "ended connections")
            admin.config_set("timeout", 0)
        await noticed()
        await use(bus, 1)
        await bus.aclose()

    @pytest.mark.usefixtures("never_asks")
    async def test_an_operator_kills_connections(self, valkey: Valkey) -> None:
        bus = bus_at(valkey.url)
        for mark in (1, 2):
            await several(bus)
            kill_clients(valkey)
            await noticed()
            await use(bus, mark)
        await bus.aclose()

    @pytest.mark.usefixtures("never_asks")
    async def test_it_was_restarted(self, valkey: Valkey) -> None:
        bus = bus_at(valkey.url)
        await several(bus)
        valkey.kill()
        valkey.start()
        await noticed()
        await use(bus, 1)
        assert await published(bus) == [b"1"]
        await bus.aclose()

    @pytest.mark.usefixtures("never_asks")
    async def test_over_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "valkey.sock"
        server = Valkey(tmp_path, options=("--unixsocket", str(path)))
        server.start()
        bus = bus_at(f"unix://{path}")
        await several(bus)
        kill_clients(server)
        await noticed()
        await use(bus, 1)
        await bus.aclose()
        server.kill()


class TestOfOtherTopologies:
    @pytest.mark.usefixtures("never_asks")
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_sentinel(self, behind_sentinels: Sentinels, protocol: int) -> None:
        bus = bus_at(f"{behind_sentinels.url}?protocol={protocol}")
        for mark in (1, 2):
            await several(bus)
            kill_clients(behind_sentinels.primary)
            await noticed()
            await use(bus, mark)
        await bus.aclose()

    @pytest.mark.usefixtures("never_asks")
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_cluster(self, of_cluster: Cluster, protocol: int) -> None:
        bus = bus_at(f"{of_cluster.url}?protocol={protocol}", clustered=True)
        for mark in (1, 2):
            await several(bus)
            for node in of_cluster.primaries:
                kill_clients(node)
            await noticed()
            await use(bus, mark)
        await bus.aclose()


@pytest.mark.usefixtures("never_asks")
async def test_a_connection_in_use_is_not_asked(valkey: Valkey) -> None:
    bus = bus_at(valkey.url)
    await use(bus, 1)
    with redis.Redis(port=valkey.port) as admin:
        before = _pings(admin)
        for _ in range(10):
            await bus.history([(ALL, 0)], limit=1)
        assert _pings(admin) == before
    await bus.aclose()


async def test_an_unread_reply_never_reaches_another_caller(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever left it there: the connection is not used again."""
    bus = bus_at(valkey.url)
    await use(bus, 1)
    sent = []

    async def answers(connection: AbstractConnection) -> bool:
        await connection.send_command("ECHO", "for another")
        sent.append(connection)
        return True

    monkeypatch.setattr(pool, "_answers", answers)
    monkeypatch.setattr(pool, "_IDLE_SECONDS", -1.0)
    await bus.ping()
    monkeypatch.undo()
    await noticed()
    assert sent
    assert (await bus.command("ECHO", "mine")) == b"mine"
    await bus.aclose()


def kill_clients(server: Valkey) -> None:
    """End the connections of all clients but replicas and this one."""
    with redis.Redis(port=server.port) as admin:
        for kind in ("normal", "pubsub"):
            admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def _others(admin: redis.Redis) -> int:
    me = admin.client_id()
    return sum(int(client["id"]) != me for client in admin.client_list())


def _pings(admin: redis.Redis) -> int:
    stats = admin.info("commandstats")
    return int(stats.get("cmdstat_ping", {"calls": 0})["calls"])
