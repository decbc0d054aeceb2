"""A small fan-out benchmark: a real Redis, a real server, real sockets, and every event counted."""

from __future__ import annotations

import psutil

from clarion_bench.fanout import FanoutOptions, fanout
from clarion_bench.laboratory import laboratory
from clarion_bench.results import Idle, Trial


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
