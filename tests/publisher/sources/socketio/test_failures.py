"""Failures on the way from producers: of a publisher, of the producers' Redis, of Clarion's."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import redis

from clarion_contract.events.audience import ALL
from clarion_publisher.sources.socketio.intake import Intake
from tests.processes import Process
from tests.publisher.service import Service, serving
from tests.publisher.sources.socketio.conftest import Names, Producer, Serve, reads, until
from tests.redis_topologies import Cluster, cluster
from tests.valkey import Valkey

READING = "clarion_publisher_socketio_reading"
KILLS = 2
BETWEEN_KILLS = 60


@contextlib.contextmanager
def writing(producer: Producer) -> Iterator[list[int]]:
    """Add numbers to the stream all the time; the list holds what was added."""
    added: list[int] = []
    stop = threading.Event()

    def write() -> None:
        for number in itertools.count():
            if stop.wait(0.005):
                return
            producer.broadcast("tick", number)
            added.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield added
    finally:
        stop.set()
        thread.join()


def readers(processes: Sequence[Process]) -> list[Process]:
    return [each for each in processes if each.metric(READING)]


@pytest.mark.timeout(600)
def test_a_reader_that_is_killed_doubles_and_loses_nothing(
    tmp_path: Path, shared_valkey: Valkey, names: Names, producer: Producer, serve: Serve
) -> None:
    starts = itertools.count()

    def start() -> Process:
        return Process(
            "publisher",
            tmp_path / f"publisher-{next(starts)}.log",
            shared_valkey.url,
            CLARION_NAMESPACE=names.namespace,
            PUBLISHER_SOCKETIO_REDIS_URL=shared_valkey.url,
            PUBLISHER_SOCKETIO_STREAM=names.stream,
            PUBLISHER_SOCKETIO_POLL_SECONDS="0.01",
        )

    running = [start(), start()]
    try:
        for process in running:
            process.wait_until_it_is_ready()
        until(lambda: readers(running))
        position = f"{names.namespace}:socketio:{{{names.stream}}}:position"
        until(lambda: producer.redis.exists(position))
        with writing(producer) as added:
            for _ in range(KILLS):
                begin = len(added)
                until(lambda begin=begin: len(added) > begin + BETWEEN_KILLS)
                # One that was late may not have noticed yet that another one has the lease.
                (reader,) = until(lambda: len(found := readers(running)) == 1 and found)
                place = running.index(reader)
                reader.process.kill()
                reader.process.wait()
                running[place] = start()
                running[place].wait_until_it_is_ready()
                until(lambda: readers(running))
    finally:
        for process in running:
            process.__exit__()
    with serve(socketio_key="off", socketio_channel="off") as service:
        events = until(lambda: len(found := service.published(ALL)) >= len(added) and found)
    assert [int(event.data) for event in events] == added


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Redis that keeps its data."""
    valkey = Valkey(tmp_path, persist=True)
    valkey.start()
    yield valkey
    valkey.kill()


def test_messages_wait_for_clarions_redis(
    own_valkey: Valkey, shared_valkey: Valkey, producer: Producer, names: Names
) -> None:
    with serving(
        own_valkey.url,
        namespace=names.namespace,
        socketio_redis_url=shared_valkey.url,
        socketio_stream=names.stream,
        socketio_key=names.key,
        socketio_channel=names.channel,
    ) as service:
        reads(service, producer)
        own_valkey.kill()
        for number in range(50):
            producer.broadcast("tick", number)
            producer.emit("tock", number)
        until(lambda: service.metric("clarion_publisher_bus_errors_total"))
        own_valkey.start()
        events = until(lambda: len(found := service.published(ALL)) >= 100 and found)
    for type_ in ("tick", "tock"):
        assert [int(each.data) for each in events if each.type == type_] == list(range(50))


def test_the_producers_redis_is_restarted(
    own_valkey: Valkey, shared_valkey: Valkey, names: Names
) -> None:
    with (
        serving(
            shared_valkey.url,
            namespace=names.namespace,
            socketio_redis_url=own_valkey.url,
            socketio_stream=names.stream,
            socketio_key=names.key,
            socketio_channel=names.channel,
        ) as service,
        redis.Redis(port=own_valkey.port) as client,
    ):
        producer = Producer(client, names)
        reads(service, producer)
        producer.broadcast("tick", 1)
        until(lambda: service.published(ALL))
        own_valkey.kill()
        until(lambda: "socketio" in service.internal("/readyz").text)
        assert service.internal("/readyz").is_success
        assert service.metric("clarion_publisher_socketio_errors_total")
        own_valkey.start()
        producer.broadcast("tick", 2)
        events = until(lambda: len(found := service.published(ALL)) == 2 and found)
        assert [event.data for event in events] == [b"1", b"2"]
        until(lambda: producer.python(method="emit", event="back", data=[3], namespace="/"))
        until(lambda: service.published(ALL)[-1].type == "back")


def test_a_wrong_login_stops_a_rollout(shared_valkey: Valkey, names: Names) -> None:
    wrong = shared_valkey.url.replace("://", "://nobody:wrong@")
    with serving(shared_valkey.url, namespace=names.namespace, socketio_redis_url=wrong) as service:
        until(lambda: "socketio: Redis does not accept" in service.internal("/readyz").text)
        assert not service.internal("/readyz").is_success


def say_once_and_wait_for_the_end(service: Service, producer: Producer) -> None:
    until(lambda: producer.redis.pubsub_numsub(producer.names.channel)[0][1])
    producer.python(method="emit", event="a", data=[1], namespace="/")
    with pytest.raises(httpx.HTTPError):
        until(lambda: service.internal("/healthz") is None, "the pod ends")


def test_a_bug_in_handing_in_ends_the_pod(
    serve: Serve, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise what the channels bring would wait, and nobody would know."""

    async def take(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Intake, "take", take)
    with pytest.raises(BaseExceptionGroup) as caught, serve(socketio_stream="off") as service:
        say_once_and_wait_for_the_end(service, producer)
    assert caught.group_contains(ZeroDivisionError)


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("producers"), primaries=2) as topology:
        yield topology


@pytest.mark.timeout(300)
def test_producers_on_a_cluster(topology: Cluster, shared_valkey: Valkey, names: Names) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in topology.nodes)
    with (
        serving(
            shared_valkey.url,
            namespace=names.namespace,
            socketio_redis_url=f"redis+cluster://{hosts}",
            socketio_stream=names.stream,
            socketio_key=names.key,
            socketio_channel=names.channel,
        ) as service,
        redis.RedisCluster(host="127.0.0.1", port=topology.nodes[0].port) as client,
    ):
        producer = Producer(client, names)  # type: ignore[arg-type]  # the same commands
        until(lambda: service.metric(READING))
        position = f"{names.namespace}:socketio:{{{names.stream}}}:position"
        until(lambda: client.exists(position))
        producer.broadcast("tick", 1)
        until(lambda: [each.type for each in service.published(ALL)] == ["tick"])
        # A publisher may hear the node where it is published, or another one.
        until(lambda: producer.emit("tock", 2) is not None and len(service.published(ALL)) > 1)
        assert {each.type for each in service.published(ALL)} == {"tick", "tock"}
