"""`clarion_contract.service.token_bucket.TokenBucket`: bursts, and a rate on average.

The tests set the time.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.service.token_bucket import TokenBucket


def take(bucket: TokenBucket, now: float) -> bool:
    return bucket.take(now, rate=2, burst=5)


def test_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(5, now=100)
    assert [take(bucket, 100) for _ in range(6)] == [True] * 5 + [False]
    assert [take(bucket, 100.5) for _ in range(2)] == [True, False]
    assert [take(bucket, 102) for _ in range(4)] == [True, True, True, False]


def test_a_long_silence_saves_no_more_than_a_burst() -> None:
    bucket = TokenBucket(5, now=0)
    assert [take(bucket, 1e6) for _ in range(6)] == [True] * 5 + [False]


@given(st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_burst_plus_rate_times_time(pauses: list[float]) -> None:
    now, taken = 0.0, 0
    bucket = TokenBucket(5, now)
    for pause in pauses:
        now += pause
        taken += take(bucket, now)
        assert taken <= 5 + 2 * now + 1e-6
