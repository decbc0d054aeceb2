"""Both publishers straight onto Redis: the results are those of the HTTP API."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from clarion import ALL, topic, user
from clarion.publisher import (
    AsyncPublisher,
    InsufficientScope,
    InvalidEvent,
    KeyReused,
    NewEvent,
    Publisher,
    Receipt,
    ServiceToken,
    TooLarge,
    Unavailable,
)
from tests.clients.python.publisher.test_publishing import SCOPES, SHOP, publish, run
from tests.conftest import SECRET
from tests.e2e.ports import free_port
from tests.publisher.service import Service, serving
from tests.valkey import Valkey


@pytest.fixture
def service(redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A publisher beside, to compare with and to read the log."""
    monkeypatch.setenv("CLARION_NAMESPACE", namespace)
    with serving(redis_url, namespace=namespace) as service:
        yield service


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_event_reaches_its_audience(service: Service, kind: str, redis_url: str) -> None:
    position, receipt = run(
        kind, redis_url, ("position", (), {}), publish(user("alice"), "order.sent", {"id": 42})
    )
    (event,) = service.published(user("alice"))
    assert receipt == Receipt(id=str(event.id), duplicate=False, gateways=0)
    assert event.data == b'{"id":42}'
    assert event.id > int(position)


def test_a_key_is_the_same_over_http(service: Service, kind: str, redis_url: str) -> None:
    """A producer may change from one way to the other between two attempts."""
    event = publish(ALL, "tick", 1, key="k")
    (first,) = run(kind, redis_url, event)
    (again,) = run(kind, service.url, event)
    (third,) = run(kind, redis_url, event)
    assert (again.id, again.duplicate) == (third.id, third.duplicate) == (first.id, True)
    with pytest.raises(KeyReused):
        run(kind, redis_url, publish(ALL, "tick", 2, key="k"))


def test_problems_are_those_of_the_api(service: Service, kind: str, redis_url: str) -> None:
    with pytest.raises(InvalidEvent) as invalid:
        run(kind, redis_url, publish(ALL, "not a type"))
    assert invalid.value.errors[0].pointer == "/type"
    with pytest.raises(TooLarge):
        run(kind, redis_url, publish(ALL, "tick", "x" * 70_000))
    narrow = ServiceToken(SECRET, "shop", ["publish:user"])
    with pytest.raises(InsufficientScope) as lacking:
        run(kind, redis_url, publish(ALL, "tick"), token=narrow)
    assert lacking.value.scope == "publish:all"


def test_a_batch_has_a_result_for_each_event(service: Service, kind: str, redis_url: str) -> None:
    events = [NewEvent(topic("a"), "tick", 1), NewEvent(ALL, "no type"), NewEvent(ALL, "tick", 3)]
    ((first, second, third),) = run(kind, redis_url, ("publish_batch", (events,), {}))
    assert [isinstance(each, Receipt) for each in (first, second, third)] == [True, False, True]
    assert isinstance(second, InvalidEvent)


def test_nobody_answers(kind: str) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(Unavailable, match="The bus does not answer"):
        run(kind, url, publish(ALL, "tick"), retry_seconds=0)


def test_what_is_no_token_is_refused(kind: str, redis_url: str) -> None:
    with pytest.raises(Unavailable, match="expected a service's token"):
        run(kind, redis_url, publish(ALL, "tick"), token="nonsense", retry_seconds=0)


def test_redis_is_killed_and_nothing_is_lost_or_doubled(
    lasting_valkey: Valkey, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLARION_NAMESPACE", namespace)
    receipts: list[Receipt] = []
    count = 120

    def produce() -> None:
        token = ServiceToken("", "shop", SCOPES)
        with Publisher(lasting_valkey.url, token=token, retry_seconds=120) as publisher:
            for number in range(count):
                receipts.append(publisher.publish(ALL, "tick", number))

    producing = threading.Thread(target=produce)
    producing.start()
    for reached in (count // 4, count // 2):
        while len(receipts) < reached:
            assert producing.is_alive()
            threading.Event().wait(0.002)
        lasting_valkey.kill()
        lasting_valkey.start()
    producing.join()
    with serving(lasting_valkey.url, namespace=namespace) as service:
        assert [int(event.data) for event in service.published(ALL)] == list(range(count))
    assert [int(receipt.id) for receipt in receipts] == sorted(int(each.id) for each in receipts)


async def test_many_at_once_share_pipelines(service: Service, redis_url: str) -> None:
    async with AsyncPublisher(redis_url, token=SHOP) as publisher:
        published: list[Any] = await asyncio.gather(
            *(publisher.publish(ALL, "tick", number) for number in range(50))
        )
    assert len({receipt.id for receipt in published}) == 50
