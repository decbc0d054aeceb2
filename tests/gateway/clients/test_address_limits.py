"""`clarion_gateway.clients.address_limits`: many handshakes of one address, and those of others."""

from __future__ import annotations

import structlog

from clarion_gateway.clients.address_limits import AddressLimits

OFFICE = "192.0.2.7"
OTHER = "198.51.100.9"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def limits(
    clock: Clock, *, per_second: float = 0.25, burst: int = 3, most: int = 2
) -> AddressLimits:
    return AddressLimits(per_second=per_second, burst=burst, max_opening=most, clock=clock)


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limit = limits(clock)
    assert [limit.refusal(OFFICE) for _ in range(3)] == [None] * 3
    refused = limit.refusal(OFFICE)
    assert refused is not None
    assert (refused.label, refused.status, refused.reconnect) == ("address_limited", 429, True)
    assert refused.retry_seconds == 4
    assert refused.reason == (
        "expected at most 0.25 handshakes a second, 3 at once from one address"
    )
    assert len(refused.reason.encode()) <= 123, "it has to fit into a close frame"
    assert limit.refusal(OTHER) is None
    clock.now = refused.retry_seconds
    assert limit.refusal(OFFICE) is None


def test_so_many_are_under_way() -> None:
    limit = limits(Clock(), burst=100)
    for _ in range(2):
        assert limit.refusal(OFFICE) is None
        limit.begin(OFFICE)
    refused = limit.refusal(OFFICE)
    assert refused is not None
    assert refused.reason == "expected at most 2 handshakes at a time from one address"
    assert limit.refusal(OTHER) is None
    limit.end(OFFICE)
    assert limit.refusal(OFFICE) is None


def test_an_unknown_address_has_no_limit() -> None:
    limit = limits(Clock(), burst=1, most=1)
    for _ in range(10):
        assert limit.refusal(None) is None
        limit.begin(None)
    limit.end(None)


def test_zero_is_no_limit() -> None:
    limit = limits(Clock(), per_second=0, burst=1, most=0)
    for _ in range(10):
        assert limit.refusal(OFFICE) is None
        limit.begin(OFFICE)


def test_one_line_a_minute_names_the_address_and_the_setting() -> None:
    clock = Clock()
    limit = limits(clock, burst=1)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            limit.refusal(OFFICE)
        clock.now = 61
        for _ in range(20):
            limit.refusal(OFFICE)
    assert [line["address"] for line in logs] == [OFFICE, OFFICE]
    assert "GATEWAY_TRUSTED_PROXIES" in logs[0]["hint"]
