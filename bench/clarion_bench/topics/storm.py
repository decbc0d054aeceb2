"""Clients that all come back to a fresh gateway, as after the death of a pod: reads of Redis.

Every client names ten topics and its position. Redis tells in MONITOR which logs are read.
"""

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final, Self
from urllib.parse import urlsplit

from clarion_bench import clarion, payload
from clarion_bench.crowd import Crowd, LoadError
from clarion_bench.laboratory import Laboratory
from clarion_bench.topic_figure import TopicFigure
from clarion_bench.topics.turns import crowd, gateway
from clarion_bench.window import Instruments, between
from clarion_contract.events.audience import topic_audience
from clarion_contract.redis.keyspace import Keyspace

_TOPICS_EACH: Final = 10
_MEMBERS: Final = 50
_EVENTS_EACH: Final = 5
_AIM: Final = 2.0
_GRACE_SECONDS: Final = 60.0
_BATCH: Final = 500


class LogReads:
    """Counts the commands of clients that name the log of a topic, until the block ends."""

    def __init__(self, redis_url: str, logs: set[bytes]) -> None:
        parts = urlsplit(redis_url)
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379))
        self._logs = logs
        self._thread = threading.Thread(target=self._read)
        self._rest = b""
        self.by_log: Counter[bytes] = Counter()

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while data := self._socket.recv(1 << 18):
            *lines, self._rest = (self._rest + data).split(b"\r\n")
            for line in lines:
                if b" lua] " not in line:  # a command of a script belongs to the script's call
                    self.by_log.update(each for each in line.split(b'"') if each in self._logs)


def storm(returning: int, bench: Laboratory) -> Iterator[TopicFigure]:
    """Open all connections as fast as the gateway takes them; check that nothing was missed."""
    count = max(_TOPICS_EACH, returning * _TOPICS_EACH // _MEMBERS)
    audiences = [topic_audience(f"bench.storm.{index}") for index in range(count)]
    with contextlib.closing(clarion.to_each(bench.broker.url, audiences)) as publisher:
        publisher.publish([payload.encode(0)])
        since = publisher.position
        for first in range(0, count * _EVENTS_EACH, _BATCH):
            numbers = range(first, min(first + _BATCH, count * _EVENTS_EACH))
            publisher.publish([payload.encode(number) for number in numbers])
    logs = {Keyspace(clarion.NAMESPACE).log(each.stream).encode() for each in audiences}
    queries = [_query(index, count, since) for index in range(returning)]
    reads = LogReads(bench.broker.url, logs)
    with gateway(bench) as server, reads, crowd(server, []) as sockets:
        instruments = Instruments(server.process, bench.broker, sockets)
        before = instruments.read()
        sockets.open(queries)
        _wait(sockets, returning * _TOPICS_EACH * _EVENTS_EACH)
        window = between(before, instruments.read())
    yield TopicFigure(
        f"{returning:,} back, {count:,} topics: reads of each",
        [max(reads.by_log.values(), default=0)],
        [],
        aim=_AIM,
        others_busy=window.busy.others,
    )


def _wait(sockets: Crowd, expected: int) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while sockets.events < expected:
        if time.monotonic() > deadline:
            raise LoadError(f"{sockets.events:,} of {expected:,} missed events came back")
        time.sleep(0.05)


def _query(index: int, count: int, since: int) -> str:
    names = [f"bench.storm.{(index * _TOPICS_EACH + each) % count}" for each in range(_TOPICS_EACH)]
    token = clarion.token(clarion.user(index), subscribe=["bench.storm.*"])
    return f"?token={token}&since={since}&" + "&".join(f"topic={name}" for name in names)
