"""The producers' Redis fails over, watched by Sentinels or in a cluster: reading goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from clarion_contract.events.audience import ALL
from tests.publisher.service import Service, serving
from tests.publisher.sources.socketio.conftest import Names, Producer, until
from tests.redis_topologies import cluster, sentinels
from tests.valkey import Valkey

READING = "clarion_publisher_socketio_reading"

pytestmark = pytest.mark.timeout(600)


def reader(clarion: Valkey, names: Names, url: str) -> Any:
    return serving(
        clarion.url,
        namespace=names.namespace,
        socketio_redis_url=url,
        socketio_stream=names.stream,
        socketio_key=names.key,
        socketio_channel=names.channel,
        socketio_poll_seconds=0.01,
    )


def ticks(service: Service) -> list[int]:
    return [int(each.data) for each in service.published(ALL) if each.type == "tick"]


def add(producer: Producer, numbers: range) -> None:
    for number in numbers:
        until(lambda each=number: producer.broadcast("tick", each))


def heard(service: Service, say: Callable[[str], object], name: str) -> None:
    """Wait until what is said on a channel, again and again, is published."""

    def is_published() -> bool:
        say(name)
        return any(each.type == name for each in service.published(ALL))

    until(is_published, name)


def test_sentinels_name_another_primary(
    tmp_path: Path, shared_valkey: Valkey, names: Names
) -> None:
    with (
        sentinels(tmp_path) as topology,
        reader(shared_valkey, names, topology.url) as service,
    ):
        until(lambda: service.metric(READING))
        old = topology.primary
        with old.client as client:
            producer = Producer(client, names)
            until(lambda: client.keys(f"{names.namespace}:socketio:*:position"))
            add(producer, range(20))
            heard(service, producer.emit, "before")
        until(lambda: ticks(service) == list(range(20)))
        until(topology.in_step)
        old.kill()
        with topology.wait_for_failover(old).client as client:
            producer = Producer(client, names)
            add(producer, range(20, 40))
            until(lambda: len(ticks(service)) == 40)
            heard(service, producer.emit, "after")
            heard(
                service,
                lambda name: producer.python(method="emit", event=name, data=[1], namespace="/"),
                "python",
            )
        assert ticks(service) == list(range(40)), "each once, in order"
        assert service.internal("/readyz").is_success


def test_a_replica_takes_over_in_a_cluster(
    tmp_path: Path, shared_valkey: Valkey, names: Names
) -> None:
    with (
        cluster(tmp_path) as topology,
        reader(shared_valkey, names, topology.url) as service,
    ):
        until(lambda: service.metric(READING))
        old = topology.primary_of(names.stream)
        other = next(each for each in topology.primaries if each is not old)
        with redis.RedisCluster(host="127.0.0.1", port=other.port) as client:
            producer = Producer(client, names)  # type: ignore[arg-type]  # the same commands
            position = f"{names.namespace}:socketio:{{{names.stream}}}:position"
            until(lambda: client.exists(position))
            add(producer, range(20))
            until(lambda: ticks(service) == list(range(20)))
            until(topology.in_step)
            old.kill()
            topology.wait_for_failover(old)
            add(producer, range(20, 40))
            until(lambda: len(ticks(service)) == 40)
            heard(service, producer.emit, "after")
        assert ticks(service) == list(range(40)), "each once, in order"
