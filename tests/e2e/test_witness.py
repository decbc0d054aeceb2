"""The witness of the cluster tests reports success and faults correctly, on local processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.e2e.stack import Stack, make_stack
from tests.e2e.watch import beside
from tests.e2e.witness import Listener, judge
from tests.valkey import Valkey

AUDIENCES = ["all", "authenticated", "user:alice", "all"]


def made(user: str | None, *numbers: int) -> Listener:
    return Listener(user, "run", ["http://nowhere"], numbers=list(numbers))


@pytest.mark.parametrize(
    ("user", "numbers", "wrong"),
    [
        ("alice", (0, 1, 2, 3), {}),
        ("bob", (0, 1, 3), {}),
        (None, (0, 3), {}),
        (None, (), {"lost": 2}),
        ("alice", (0, 1, 3), {"lost": 1}),
        ("alice", (0, 1, 1, 2, 3), {"doubled": 1}),
        ("alice", (0, 2, 1, 3), {"misplaced": 1}),
        ("bob", (0, 1, 2, 3), {"foreign": 1}),
        (None, (0, 1, 3), {"foreign": 1}),
    ],
)
def test_judges(user: str | None, numbers: tuple[int, ...], wrong: dict[str, int]) -> None:
    judged = judge(made(user, *numbers), AUDIENCES)
    faults = ("lost", "doubled", "misplaced", "foreign")
    assert {name: judged[name] for name in faults if judged[name]} == wrong


def test_every_service_goes_and_comes_back_and_nothing_is_lost(own_stack: Stack) -> None:
    """Services are replaced one after the other, as in a roll-out, and one gateway is killed."""
    with beside(own_stack) as watch:
        for service in own_stack.services:
            service.terminate()
            service.wait()
            if service is own_stack.publisher:
                watch.wait(refused=1)
            service.start()
            service.wait_until_ready()
            watch.wait(published=10)
        own_stack.gateways[0].kill()
        own_stack.gateways[0].start()
        own_stack.gateways[0].wait_until_ready()
    seen = watch.seen
    assert seen.nothing_lost(), seen
    assert seen.expected > seen.published
    assert seen.reconnects >= 24, "every client was sent elsewhere"
    assert seen.refused > 0, "the publisher was away for a while"
    assert seen.pods == ["gateway-1", "gateway-2"]


def test_a_loss_is_seen(tmp_path: Path, namespace: str) -> None:
    """Redis loses everything while both gateways are away. Clients are told, which is counted."""
    valkey = Valkey(tmp_path)
    valkey.start()
    try:
        stack = make_stack(tmp_path, valkey.url, namespace, GATEWAY_DRAIN_SPREAD_SECONDS="0.2")
        with stack.running(), beside(stack, "--patience", "2") as watch:
            watch.wait(published=10)
            for gateway in stack.gateways:
                gateway.kill()
            with redis.Redis(port=valkey.port) as client:
                client.flushall()
            for gateway in stack.gateways:
                gateway.start()
            for gateway in stack.gateways:
                gateway.wait_until_ready()
    finally:
        valkey.kill()
    assert watch.seen.told > 0
    assert not watch.seen.nothing_lost()
