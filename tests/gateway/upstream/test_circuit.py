"""The circuit breaker: opens after failures in a row, tries again, closes after a success."""

from __future__ import annotations

from clarion_gateway.upstream.circuit import Circuit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(circuit: Circuit, times: int) -> None:
    for _ in range(times):
        assert circuit.enter()
        circuit.failed()


def test_failures_in_a_row_open_it() -> None:
    circuit = Circuit(3, clock=Clock())
    fail(circuit, 2)
    assert circuit.enter()
    circuit.succeeded()
    fail(circuit, 2)
    assert not circuit.open
    fail(circuit, 1)
    assert circuit.open
    assert circuit.refuses()
    assert not circuit.enter()


def test_one_trial_at_a_time() -> None:
    clock = Clock()
    circuit = Circuit(1, clock=clock)
    fail(circuit, 1)
    clock.now = 1.0
    assert not circuit.refuses()
    assert circuit.enter()
    assert not circuit.enter()
    circuit.succeeded()
    assert not circuit.open
    assert circuit.enter()


def test_a_failed_trial_waits_longer_but_not_for_ever() -> None:
    clock = Clock()
    circuit = Circuit(1, clock=clock)
    fail(circuit, 1)
    waits = []
    for _ in range(6):
        began = clock.now
        while not circuit.enter():
            clock.now += 0.5
        waits.append(clock.now - began)
        circuit.failed()
    assert waits == [1, 2, 4, 8, 15, 15]


def test_a_trial_that_is_given_up_makes_room_for_another() -> None:
    clock = Clock()
    circuit = Circuit(1, clock=clock)
    fail(circuit, 1)
    clock.now = 1.0
    assert circuit.enter()
    circuit.abandoned()
    assert circuit.enter()


def test_calls_that_were_under_way_do_not_prolong_it() -> None:
    clock = Clock()
    circuit = Circuit(1, clock=clock)
    assert circuit.enter()
    assert circuit.enter()
    circuit.failed()
    clock.now = 0.9
    circuit.failed()
    clock.now = 1.0
    assert circuit.enter()
