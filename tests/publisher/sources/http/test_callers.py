"""Identifying callers: which tokens are remembered, for how long, and what is counted."""

from __future__ import annotations

import time

import pytest
from prometheus_client import CollectorRegistry

from clarion_contract.events.errors import KeysUnavailable
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.keys import Candidates, FixedKey
from clarion_contract.identity.tokens import TokenVerifier
from clarion_publisher.metrics import Metrics
from clarion_publisher.sources.http import problems
from clarion_publisher.sources.http.callers import REMEMBERED_SECONDS, Callers
from clarion_publisher.sources.http.problems import HttpRefusal
from tests.conftest import SECRET
from tests.publisher.service import token


class CountingVerifier(TokenVerifier):
    def __init__(self) -> None:
        super().__init__(FixedKey(SECRET), algorithms=["HS256"], leeway_seconds=0)
        self.verified = 0

    def verify(self, token: str) -> Claims:
        self.verified += 1
        return super().verify(token)


class NoKeys:
    only = None

    def find(self, key_id: str | None, algorithm: str) -> Candidates:
        return Candidates(())

    async def refresh(self) -> None:
        raise KeysUnavailable("down")

    async def recheck(self) -> bool:
        return False


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def refused(metrics: Metrics, reason: str) -> float | None:
    return metrics.registry.get_sample_value(
        "clarion_publisher_tokens_refused_total", {"reason": reason}
    )


async def test_a_token_is_verified_once_in_a_while(metrics: Metrics) -> None:
    verifier, clock = CountingVerifier(), Clock(0)
    callers = Callers(verifier, metrics, clock=clock)
    header = b"Bearer " + token().encode()
    for _ in range(3):
        assert (await callers.identify(header)).subject == "orders"
    assert verifier.verified == 1
    clock.now = REMEMBERED_SECONDS
    await callers.identify(header)
    assert verifier.verified == 2


async def test_a_token_is_not_remembered_beyond_its_end(metrics: Metrics) -> None:
    verifier, now = CountingVerifier(), time.time()
    clock = Clock(now)
    callers = Callers(verifier, metrics, clock=clock)
    header = b"Bearer " + token(exp=now + 5).encode()
    await callers.identify(header)
    clock.now = now + 5
    await callers.identify(header)
    assert verifier.verified == 2


async def test_memory_is_bounded(metrics: Metrics) -> None:
    callers = Callers(CountingVerifier(), metrics)
    for number in range(1_001):
        await callers.identify(b"Bearer " + token(subject=str(number)).encode())
    assert len(callers._remembered) == 1


async def test_bad_tokens_are_not_remembered(metrics: Metrics) -> None:
    callers = Callers(CountingVerifier(), metrics)
    for _ in range(2):
        with pytest.raises(HttpRefusal) as caught:
            await callers.identify(b"Bearer " + token(exp=1).encode())
        assert caught.value.row is problems.INVALID_TOKEN
    assert callers._remembered == {}
    assert refused(metrics, "expired") == 2


@pytest.mark.parametrize("header", [None, b"", b"Basic abc", b"Bearer", b"\xff\xfe"])
async def test_no_token(metrics: Metrics, header: bytes | None) -> None:
    with pytest.raises(HttpRefusal) as caught:
        await Callers(CountingVerifier(), metrics).identify(header)
    expected = problems.INVALID_TOKEN if header == b"Bearer" else problems.UNAUTHENTICATED
    assert caught.value.row is expected


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"Bearer "])
async def test_the_scheme_is_case_insensitive(metrics: Metrics, scheme: bytes) -> None:
    """RFC 9110, section 11.1."""
    callers = Callers(CountingVerifier(), metrics)
    assert (await callers.identify(scheme + b" " + token().encode())).subject == "orders"


@pytest.mark.parametrize("header", [b"Bearer \xff", b"Bearer " + b"." * 9_000, b"Bearer a.b.c"])
async def test_nonsense(metrics: Metrics, header: bytes) -> None:
    with pytest.raises(HttpRefusal) as caught:
        await Callers(CountingVerifier(), metrics).identify(header)
    assert caught.value.row is problems.INVALID_TOKEN
    assert refused(metrics, "malformed") == 1


async def test_keys_that_cannot_be_had(metrics: Metrics) -> None:
    verifier = TokenVerifier(NoKeys(), algorithms=["HS256"], leeway_seconds=0)
    with pytest.raises(HttpRefusal) as caught:
        await Callers(verifier, metrics).identify(b"Bearer " + token().encode())
    assert caught.value.row is problems.KEYS_UNAVAILABLE
    assert dict(caught.value.headers)["retry-after"] == "1"
