"""Hostile clients of each kind for a second or two: honest ones beside them notice nothing.

A short run of what `make abuse` does for as long as one likes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from tests.abuse.honest import Honest
from tests.abuse.pods import CHART_LIMIT_BYTES, Pods, limited
from tests.abuse.scenario import CEILING_BYTES, Force, run
from tests.abuse.table import KINDS
from tests.chaos.ledger import Ledger

_FORCE = Force(seconds=1.5, connections=20)


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """One gateway and one publisher, which outlive all kinds."""
    pods = Pods(tmp_path_factory.mktemp("abuse"))
    with pods.running():
        yield pods


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    """One for all: idempotency keys are numbers in it."""
    return Ledger()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind",
    list(KINDS.values()),
    ids=list(KINDS),
)
async def test_honest_clients_notice_nothing(pods: Pods, ledger: Ledger, kind: Any) -> None:
    report = await run(pods, ledger, kind, _FORCE)
    print(report)
    if report.faults:
        pytest.fail(str(report))
    assert report.verdict.delivered > 0
    assert report.counts["connections"] > 0


@pytest.mark.timeout(300)
async def test_the_worst_clients_fit_into_the_charts_memory_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a quarter of the chart's limit, a quarter of its connections, and the clients to fill it.

    What the process itself takes is not a quarter, so that a whole limit has more room.
    """
    scale = 4
    monkeypatch.setitem(CEILING_BYTES, "gateway", CHART_LIMIT_BYTES // scale)
    pods = limited(tmp_path, scale)
    with pods.running():
        report = await run(pods, Ledger(), KINDS["worst"], Force(seconds=8, connections=200))
        print(report)
        assert report.faults == []
        assert "MemoryError" not in pods.gateway.log.read_text()
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"{pods.gateway.internal_url}/metrics")).text
        assert 'reason="inbound_full"' in metrics, "more was sent than there is room for"


async def test_what_an_honest_client_notices_is_found(pods: Pods, ledger: Ledger) -> None:
    """The oracle finds a client that lost its connection, and one that was turned away."""
    honest = Honest(pods, ledger, random.Random(1), comers=True)

    async def disconnect() -> None:
        headers = {"Authorization": f"Bearer {pods.service_token('test')}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
            url = f"{pods.publisher.url}/v1/users/bob/disconnect"
            assert (await client.post(url, json={})).is_success

    await honest.during(disconnect)
    lost = [line.partition(" lost its connection: ") for line in honest.noticed]
    assert {(who, ends) for who, _, ends in lost} == {
        ("socket 1 of bob", "4409"),
        ("stream 1 of bob", "4409"),
        ("Socket.IO 1 of bob", "4409"),
        ("polls 1 of bob", "closed"),
    }


async def test_memory_past_the_ceiling_is_found(
    pods: Pods, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CEILING_BYTES, "gateway", -1)
    report = await run(pods, ledger, KINDS["handshakes"], Force(seconds=0, connections=1))
    assert [fault.partition(" by ")[0] for fault in report.faults] == ["gateway grew"]
