"""A small benchmark of publishing: every kind of request is one that a real publisher takes."""

from __future__ import annotations

from clarion_bench import payload
from clarion_bench.callers import SERIAL
from clarion_bench.laboratory import laboratory
from clarion_bench.publishers import EVENT_TYPE
from clarion_bench.publishing import CATALOGUE, INTAKES, PublishingOptions, publishing
from clarion_contract.service.declared_events import read_catalogue

SERVERS = [name for name in INTAKES if name.startswith("clarion")]


def test_a_publisher_takes_every_kind_of_request() -> None:
    options = PublishingOptions(
        servers=SERVERS, batches=(1, 3), concurrency=2, seconds=0.1, warmup_seconds=0.1
    )
    with laboratory() as bench:
        results = list(publishing(options, bench, lambda _: None))
    assert [(each.server, each.batch) for each in results] == [
        (name, batch) for name in SERVERS for batch in (1, 3)
    ]
    for each in results:
        assert each.refusals == 0, each.server
        assert each.events_per_second > 0, each.server


def test_no_event_with_a_key_is_a_duplicate() -> None:
    for name in ("clarion-keyed", "clarion-cloudevents"):
        assert INTAKES[name].message(1, 3).count(SERIAL) == 3


def test_the_events_are_declared() -> None:
    declared = read_catalogue(CATALOGUE).find(EVENT_TYPE)
    assert declared is not None
    assert declared.check_data(payload.encode(0)) == []
    assert declared.check_data(b"{}") != []
