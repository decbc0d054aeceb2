"""A publisher that reads an outbox, and what it has published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from clarion_contract.events.audience import Audience
from tests.postgres import Outbox
from tests.publisher.service import Service, serving
from tests.redis_topologies import wait_until


def rows(outcome: str) -> str:
    """A sample of the counter of rows."""
    return f'clarion_publisher_outbox_rows_total{{outcome="{outcome}"}}'


@contextlib.contextmanager
def reading(redis_url: str, outbox: Outbox, namespace: str, **overrides: Any) -> Iterator[Service]:
    options = {"outbox_url": outbox.url, "outbox_poll_seconds": 0.05, **overrides}
    with serving(redis_url, namespace=namespace, **options) as service:
        yield service


def data_of(service: Service, audience: Audience) -> list[bytes]:
    return [event.data for event in service.published(audience)]


def numbers_of(service: Service, audience: Audience) -> list[int]:
    return [int(data) for data in data_of(service, audience)]


def wait_for(service: Service, audience: Audience, numbers: Sequence[int]) -> None:
    """Wait until exactly these numbers are published, in this order."""
    wait_until(
        lambda: len(numbers_of(service, audience)) >= len(numbers),
        f"{len(numbers)} events are published",
        seconds=90,
    )
    assert numbers_of(service, audience) == list(numbers)
