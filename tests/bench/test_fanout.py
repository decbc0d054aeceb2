"""A small fan-out benchmark: a real Redis, a real server, real sockets, and every event counted."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import closing

import psutil
import pytest
from websockets.asyncio.server import ServerConnection, serve

from clarion_bench import payload
from clarion_bench.crowd import Crowd, LoadError
from clarion_bench.dialects import PLAIN_DEFLATE
from clarion_bench.fanout import FanoutOptions, fanout
from clarion_bench.laboratory import laboratory
from clarion_bench.results import Idle, Trial

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="the peers need Node and npm")


@pytest.mark.parametrize(
    "server",
    [
        "clarion-deflate",
        pytest.param("ws-deflate", marks=needs_node),
        pytest.param("uws-deflate", marks=needs_node),
    ],
)
def test_every_socket_receives_every_compressed_event(server: str) -> None:
    options = FanoutOptions(
        servers=[server],
        connections=30,
        rates=[10.0],
        seconds=1.0,
        warmup_seconds=0.3,
        idle=0,
        burst=False,
        event_bytes=1_500,
    )
    with laboratory() as bench:
        (steady,) = fanout(options, bench, lambda _: None)
    assert isinstance(steady, Trial)
    assert (steady.missing, steady.misordered, steady.closed) == (0, 0, 0)
    assert steady.event_bytes == 1_500
    assert 100 < steady.frame_bytes < 1_000


async def test_events_that_a_server_does_not_compress_are_an_error() -> None:
    async def send_plain(connection: ServerConnection) -> None:
        connection.protocol.extensions = []
        for number in range(2):
            await connection.send(payload.encode(number).decode())
        await connection.wait_closed()

    def receive(port: int) -> None:
        with closing(Crowd(port, PLAIN_DEFLATE)) as crowd:
            crowd.open([""] * 4, sampled=2)
            while crowd.events < 8:
                time.sleep(0.01)
            with pytest.raises(LoadError, match="expected compressed events, with RSV1: 8 of 8"):
                crowd.tally()

    async with serve(send_plain, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await asyncio.to_thread(receive, port)


async def test_a_server_that_does_not_agree_on_compression_is_an_error() -> None:
    async def wait(connection: ServerConnection) -> None:
        await connection.wait_closed()

    def connect(port: int) -> None:
        with (
            closing(Crowd(port, PLAIN_DEFLATE)) as crowd,
            pytest.raises(LoadError, match="expected an agreement on permessage-deflate"),
        ):
            crowd.open([""] * 2)

    async with serve(wait, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await asyncio.to_thread(connect, port)


def test_every_session_that_polls_receives_every_event() -> None:
    options = FanoutOptions(
        servers=["clarion-polling"],
        connections=30,
        rates=[10.0],
        seconds=1.0,
        warmup_seconds=0.3,
        idle=0,
        burst=False,
    )
    with laboratory() as bench:
        (steady,) = fanout(options, bench, lambda _: None)
    assert isinstance(steady, Trial)
    assert (steady.missing, steady.misordered, steady.closed) == (0, 0, 0)


def test_every_socket_of_the_fastapi_route_receives_every_event() -> None:
    options = FanoutOptions(
        servers=["fastapi"],
        connections=60,
        rates=[40.0],
        seconds=1.0,
        warmup_seconds=0.3,
        idle=60,
    )
    announced: list[str] = []
    before = psutil.Process().children(recursive=True)
    with laboratory() as bench:
        idle, steady, burst = fanout(options, bench, announced.append)

    assert len(announced) == 3
    assert isinstance(idle, Idle)
    assert idle.handshakes_per_second > 0
    assert idle.cpu_us_per_handshake > 0
    for result in (steady, burst):
        assert isinstance(result, Trial)
        assert result.complete
        assert (result.missing, result.misordered, result.closed) == (0, 0, 0)
        assert 0 < result.p50_ms <= result.p99_ms
        assert result.cpu_us_per_delivery > 0
    # Nothing that was started outlives the run, but for multiprocessing's own helper.
    left = psutil.Process().children(recursive=True)
    assert [p for p in left if p not in before and "resource_tracker" not in str(p.cmdline())] == []
