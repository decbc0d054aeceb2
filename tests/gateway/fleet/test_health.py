"""`clarion_gateway.fleet.health`: a pod's own faults make it unready, a Redis that is away does not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from clarion_contract.events.errors import BusUnavailable, Fault
from clarion_contract.redis import faults
from clarion_contract.service.readiness import Health
from clarion_gateway.fleet.health import PodHealth
from tests.gateway.recorder import settings

FRESH, LATE, NEVER = 0.1, 60.0, math.inf
AWAY = BusUnavailable("ConnectionError: refused")


@dataclass
class Bus:
    """What the subscription knows of Redis."""

    verified_age_seconds: float
    trouble: BusUnavailable | None = None


def health(
    bus: Bus, *, draining: bool = False, keys: str | None = None, jobs: tuple[str, ...] = ()
) -> Health:
    """The health of a pod."""
    drain: Any = SimpleNamespace(begun=draining)
    known: Any = SimpleNamespace(known=keys is None, failure=keys)
    return PodHealth(settings(), bus, drain, known).look(jobs)


def test_a_pod_that_hears_redis_is_ready() -> None:
    assert health(Bus(FRESH)) == ((), ())


def test_a_failure_that_is_not_late_yet_says_nothing() -> None:
    assert health(Bus(FRESH, AWAY)) == ((), ())


def test_a_pod_that_loses_redis_stays_ready_and_warns() -> None:
    reasons, (warning,) = health(Bus(LATE, AWAY))
    assert reasons == ()
    assert warning == "bus not verified for 60.0 s: ConnectionError: refused"


def test_a_pod_that_never_heard_redis_is_not_ready() -> None:
    (reason,), warnings = health(Bus(NEVER))
    assert reason == "bus never verified: no answer yet"
    assert warnings == ()


@pytest.mark.parametrize("fault", [each for each in faults.FAULTS if each.own], ids=str)
def test_a_fault_of_its_own_settings_makes_it_unready(fault: Fault) -> None:
    (reason,), warnings = health(Bus(LATE, BusUnavailable("refused", fault)))
    assert fault.advice in reason
    assert warnings == ()


@pytest.mark.parametrize("fault", [each for each in faults.FAULTS if not each.own], ids=str)
def test_a_fault_of_redis_makes_no_pod_unready(fault: Fault) -> None:
    """All pods meet it, so the Service would be empty."""
    reasons, (warning,) = health(Bus(LATE, BusUnavailable("refused", fault)))
    assert reasons == ()
    assert fault.advice in warning


def test_draining_unknown_keys_and_failing_jobs_are_reasons() -> None:
    reasons, warnings = health(
        Bus(LATE, AWAY), draining=True, keys="404", jobs=("job sweeper fails: KeyError",)
    )
    assert reasons == (
        "job sweeper fails: KeyError",
        "draining",
        "no keys from CLARION_JWT_JWKS_URL: 404",
    )
    assert len(warnings) == 1
