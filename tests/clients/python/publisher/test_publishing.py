"""Both publishers against a real one: results, problems, tokens, batches, traces."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from clarion import ALL, AUTHENTICATED, topic, user
from clarion.publisher import (
    AsyncPublisher,
    Bounds,
    InsufficientScope,
    InvalidEvent,
    InvalidToken,
    KeyReused,
    NewEvent,
    Publisher,
    PublishError,
    Receipt,
    ServiceToken,
    TooLarge,
    Unavailable,
)
from tests.conftest import SECRET
from tests.e2e.ports import free_port
from tests.publisher.service import Service, serving, token

SCOPES = ["publish:all", "publish:authenticated", "publish:user", "publish:topic"]
SHOP = ServiceToken(SECRET, "shop", SCOPES)


@pytest.fixture
def service(redis_url: str, namespace: str) -> Iterator[Service]:
    with serving(redis_url, namespace=namespace) as service:
        yield service


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(kind: str, url: str, *calls: tuple[Any, ...], **options: Any) -> list[Any]:
    """The results of methods, called one after the other; the last one's exception is raised."""
    options = {"token": SHOP, **options}
    if kind == "sync":
        with Publisher(url, **options) as publisher:
            return [
                getattr(publisher, name)(*arguments, **named) for name, arguments, named in calls
            ]

    async def all_of_them() -> list[Any]:
        async with AsyncPublisher(url, **options) as publisher:
            return [
                await getattr(publisher, name)(*arguments, **named)
                for name, arguments, named in calls
            ]

    return asyncio.run(all_of_them())


def publish(*arguments: Any, **named: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return "publish", arguments, named


@dataclass
class Order:
    id: int
    state: str


def test_an_event_reaches_its_audience(service: Service, kind: str) -> None:
    (receipt,) = run(kind, service.url, publish(user("alice"), "order.sent", Order(42, "sent")))
    (event,) = service.published(user("alice"))
    assert receipt == Receipt(id=str(event.id), duplicate=False, gateways=0)
    assert (event.type, json.loads(event.data)) == ("order.sent", {"id": 42, "state": "sent"})


@pytest.mark.parametrize("audience", [ALL, AUTHENTICATED, topic("order.42")], ids=str)
def test_every_audience(service: Service, kind: str, audience: Any) -> None:
    run(kind, service.url, publish(audience, "tick", 1, exclude="connection-1"))
    (event,) = service.published(audience)
    assert event.exclude == "connection-1"


def test_events_without_history_are_not_kept(service: Service, kind: str) -> None:
    fleeting = publish(ALL, "fleeting", 1, history=False)
    first, _ = run(kind, service.url, fleeting, publish(ALL, "kept", 2))
    (event,) = [each for each in service.published(ALL) if each.type in {"fleeting", "kept"}]
    assert (event.type, event.prev) == ("kept", int(first.id))


def test_a_key_is_published_once(service: Service, kind: str) -> None:
    again = publish(ALL, "tick", 1, key="k")
    first, second = run(kind, service.url, again, again)
    assert (second.id, second.duplicate) == (first.id, True)
    with pytest.raises(KeyReused) as error:
        run(kind, service.url, publish(ALL, "tick", 2, key="k"))
    assert error.value.key == "k"


def test_events_without_a_key_are_never_taken_for_the_same(service: Service, kind: str) -> None:
    run(kind, service.url, publish(ALL, "tick", 1), publish(ALL, "tick", 1))
    assert len(service.published(ALL)) == 2


def test_problems_are_exceptions(service: Service, kind: str) -> None:
    with pytest.raises(InvalidEvent) as invalid:
        run(kind, service.url, publish(ALL, "not a type"))
    assert invalid.value.errors[0].pointer == "/type"
    with pytest.raises(TooLarge):
        run(kind, service.url, publish(ALL, "tick", "x" * 70_000))
    narrow = ServiceToken(SECRET, "shop", ["publish:user"])
    with pytest.raises(InsufficientScope) as lacking:
        run(kind, service.url, publish(ALL, "tick"), token=narrow)
    assert lacking.value.scope == "publish:all"
    with pytest.raises(InvalidToken):
        run(kind, service.url, publish(ALL, "tick"), token="nonsense")


def test_nobody_answers(kind: str) -> None:
    with pytest.raises(Unavailable) as error:
        run(kind, f"http://127.0.0.1:{free_port()}", publish(ALL, "tick"), retry_seconds=0)
    assert isinstance(error.value.__cause__, httpx.ConnectError)
    assert error.value.key


def test_a_url_that_is_none(kind: str) -> None:
    with pytest.raises(ValueError, match="expected a publisher's URL like"):
        run(kind, "publisher:8080")


def test_data_without_a_json_form(service: Service, kind: str) -> None:
    with pytest.raises(TypeError):
        run(kind, service.url, publish(ALL, "tick", object()))


def test_a_token_is_kept_while_it_is_good(service: Service, kind: str) -> None:
    made: list[str] = []

    def make() -> str:
        made.append(token())
        return made[-1]

    run(kind, service.url, *[publish(ALL, "tick")] * 3, token=make)
    assert len(made) == 1


def test_a_token_that_is_refused_is_replaced(service: Service, kind: str) -> None:
    tokens = [token(exp=1), token()]
    (receipt,) = run(kind, service.url, publish(ALL, "tick"), token=lambda: tokens.pop(0))
    assert receipt.id
    assert tokens == []


def test_a_token_source_that_fails_is_asked_again(service: Service, kind: str) -> None:
    calls: list[int] = []

    def make() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("the issuer is away")
        return token()

    (receipt,) = run(kind, service.url, publish(ALL, "tick"), token=make)
    assert receipt.id


def test_a_token_source_may_be_async(service: Service) -> None:
    async def make() -> str:
        return token()

    (receipt,) = run("async", service.url, publish(ALL, "tick"), token=make)
    assert receipt.id


def test_a_batch_has_a_result_for_each_event(service: Service, kind: str) -> None:
    events = [
        NewEvent(ALL, "tick", 1, key="one"),
        NewEvent(ALL, "no type", 2, key="two"),
        NewEvent(user("bob"), "tick", 3),
    ]
    ((first, second, third),) = run(kind, service.url, ("publish_batch", (events,), {}))
    assert isinstance(first, Receipt)
    assert isinstance(second, InvalidEvent)
    assert second.key == "two"
    assert isinstance(third, Receipt)


def test_a_batch_is_cut_to_what_the_publisher_takes(
    redis_url: str, namespace: str, kind: str
) -> None:
    """By our own bounds, and where the publisher's are tighter, by those."""
    with serving(redis_url, namespace=namespace, batch_max_events=10) as service:
        events = [NewEvent(ALL, "tick", number) for number in range(60)]
        (results,) = run(
            kind, service.url, ("publish_batch", (events,), {}), bounds=Bounds(events=25)
        )
        assert all(isinstance(each, Receipt) for each in results)
        assert [json.loads(event.data) for event in service.published(ALL)] == list(range(60))


def test_a_position(service: Service, kind: str) -> None:
    first, receipt = run(kind, service.url, ("position", (), {}), publish(ALL, "tick"))
    assert int(receipt.id) > int(first)


def requests(service: Service) -> float:
    return service.metric('clarion_publish_requests_total{outcome="published"}')


def test_submitted_events_share_requests_and_keep_their_order(service: Service) -> None:
    with Publisher(service.url, token=SHOP) as publisher:
        futures = [publisher.submit(ALL, "tick", number) for number in range(200)]
        publisher.flush()
        assert all(future.done() for future in futures)
    assert [int(event.data) for event in service.published(ALL)] == list(range(200))
    assert [future.result().id for future in futures] == [
        str(event.id) for event in service.published(ALL)
    ]


async def test_submitted_events_of_asyncio_too(service: Service) -> None:
    async with AsyncPublisher(service.url, token=SHOP) as publisher:
        futures = [await publisher.submit(ALL, "tick", number) for number in range(200)]
        ids = [(await future).id for future in futures]
    published = await asyncio.to_thread(service.published, ALL)
    assert [int(event.data) for event in published] == list(range(200))
    assert ids == [str(event.id) for event in published]


def test_what_is_submitted_is_bounded(service: Service) -> None:
    """A call waits while too much waits, and all the same everything is published."""
    tight = Bounds(waiting_bytes=500, events=3)
    with Publisher(service.url, token=SHOP, bounds=tight) as publisher:
        for number in range(50):
            publisher.submit(ALL, "tick", number)
    assert [int(event.data) for event in service.published(ALL)] == list(range(50))


def test_a_submitted_event_that_fails_is_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(service.url, token=SHOP) as publisher:
        future = publisher.submit(ALL, "no type", key="k")
    error = future.exception()
    assert isinstance(error, InvalidEvent)
    assert error.key == "k"
    assert "1 of 1 events are not published: The event is invalid" in caplog.text


async def test_a_submitted_event_of_asyncio_that_fails_is_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncPublisher(service.url, token=SHOP) as publisher:
        future = await publisher.submit(ALL, "no type")
    assert isinstance(future.exception(), PublishError)
    assert "1 of 1 events are not published" in caplog.text


def test_threads_share_a_publisher(service: Service) -> None:
    with Publisher(service.url, token=SHOP) as publisher:
        threads = [
            threading.Thread(target=publisher.publish, args=(ALL, "tick", number))
            for number in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(event.data) for event in service.published(ALL)) == list(range(10))


def test_it_works_in_the_child_of_a_fork(service: Service) -> None:
    """As in a worker of gunicorn or Celery whose parent has published and submitted before."""
    with Publisher(service.url, token=SHOP) as publisher:
        publisher.submit(ALL, "tick", 1).result()
        publisher.publish(ALL, "tick", 2)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                publisher.publish(ALL, "tick", 3)
                publisher.submit(ALL, "tick", 4).result()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        publisher.publish(ALL, "tick", 5)
    assert [int(event.data) for event in service.published(ALL)] == [1, 2, 3, 4, 5]


def test_passes_the_callers_trace_on(service: Service, kind: str) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("order") as span:
        run(kind, service.url, publish(ALL, "tick"))
    (event,) = service.published(ALL)
    assert event.trace is not None
    assert event.trace.split("-")[1] == trace.format_trace_id(span.get_span_context().trace_id)
