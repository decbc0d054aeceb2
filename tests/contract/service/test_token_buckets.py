"""`clarion_contract.service.token_buckets`: each client has a bucket, and memory stays bounded."""

from __future__ import annotations

from clarion_contract.service.token_buckets import _BUCKETS_MAX, TokenBuckets


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_name_has_a_bucket_of_its_own() -> None:
    clock = Clock()
    buckets = TokenBuckets(rate=2, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [None] * 3
    assert buckets.take("a") == 0.5
    assert buckets.take("b") is None
    clock.now = 0.5
    assert buckets.take("a") is None


def test_a_rate_of_zero_is_no_limit_and_keeps_nothing() -> None:
    buckets = TokenBuckets(rate=0, burst=1)
    assert [buckets.take("a") for _ in range(10)] == [None] * 10
    assert len(buckets) == 0


def test_any_number_of_names_takes_a_bounded_number_of_buckets() -> None:
    buckets = TokenBuckets(rate=1, burst=5, clock=Clock())
    for number in range(2 * _BUCKETS_MAX):
        assert buckets.take(str(number)) is None
        assert len(buckets) <= _BUCKETS_MAX


def test_room_comes_from_full_buckets_first() -> None:
    clock = Clock()
    buckets = TokenBuckets(rate=1, burst=5, clock=clock)
    for number in range(_BUCKETS_MAX - 1):
        buckets.take(str(number))
    clock.now = 1  # these are full again
    for _ in range(6):
        buckets.take("busy")
    for number in range(100):
        buckets.take(f"new {number}")
    assert buckets.take("busy") is not None, "it has not begun anew"
