"""`clarion_contract.service.readiness`: what the log tells of a service's health."""

from __future__ import annotations

import structlog
from structlog.typing import EventDict

from clarion_contract.service.readiness import Health, HealthLog

SOUND = Health()
AWAY = Health(reasons=("redis: connection refused",))
START_LOOKS = 20


def told(*states: Health) -> list[EventDict]:
    """What is logged while a service has these states, one at each look."""
    states_left = list(states)
    log = HealthLog(lambda: states_left.pop(0))
    with structlog.testing.capture_logs() as logs:
        for _ in states:
            log.look()
    return logs


def test_a_service_that_starts_as_it_should_says_nothing() -> None:
    assert told(AWAY, AWAY, SOUND, SOUND) == []


def test_a_service_that_never_becomes_ready_says_why_once() -> None:
    logs = told(*[AWAY] * 3 * START_LOOKS)
    assert [(log["event"], log["reasons"]) for log in logs] == [("not ready", [*AWAY.reasons])]


def test_each_change_is_told() -> None:
    warned = Health(warnings=("no bus for 3 s",))
    assert [log["event"] for log in told(SOUND, AWAY, AWAY, SOUND, warned, SOUND)] == [
        "not ready",
        "ready",
        "ready, with warnings",
        "ready",
    ]


def test_numbers_are_no_change() -> None:
    for_long = [Health(reasons=(f"no bus for {seconds} s",)) for seconds in range(3)]
    assert len(told(SOUND, *for_long)) == 1
