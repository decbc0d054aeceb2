"""The judge finds every kind of fault, and nothing where there is none."""

from __future__ import annotations

import pytest

from tests.chaos.ledger import Ledger
from tests.chaos.oracle import Verdict, judge, judge_logs
from tests.chaos.session import Event, Gap, Heard, Identity, Session

# Events 0 to 4 as they were published: audience and id.
AUDIENCES = ["all", "authenticated", "alice", "bob", "all"]
IDS = [10, 20, 30, 40, 50]


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    for audience, id_ in zip(AUDIENCES, IDS, strict=True):
        entry = ledger.new(audience)
        entry.first_us, entry.id, entry.accepted_us = id_ - 1, id_, id_ + 1
    return ledger


def events(*numbers: int) -> list[Heard]:
    return [Event(IDS[number], number) for number in numbers]


def session(
    *heard: Heard,
    since: int | None = None,
    start: int = 5,
    resumed: bool | None = None,
    user: str | None = "alice",
    end: str = "",
) -> Session:
    return Session(since, start, resumed, user, list(heard), end)


def faults(ledger: Ledger, *sessions: Session) -> dict[str, int]:
    verdict = judge(ledger, {"client": sessions})
    return {kind: len(found) for kind, found in verdict.faults.items()}


def test_whoever_had_all_of_his_is_clean(ledger: Ledger) -> None:
    verdict = judge(
        ledger,
        {
            "alice": [session(*events(0, 1, 2, 4))],
            "guest": [session(*events(0, 4), user=None)],
            "late": [session(*events(4), start=45)],
        },
    )
    assert verdict.faults == {}
    assert (verdict.due, verdict.delivered) == (7, 7)


def test_an_event_that_the_position_has_passed_is_lost(ledger: Ledger) -> None:
    assert faults(ledger, session(*events(0, 2, 4))) == {"lost": 1}


def test_what_is_still_to_come_is_not_lost(ledger: Ledger) -> None:
    """Whether it ever comes is for the scenario to see: a client that does not is stuck."""
    assert faults(ledger, session(*events(0, 1))) == {}


def test_what_came_over_two_connections_is_whole(ledger: Ledger) -> None:
    back = session(*events(2, 4), since=20, start=20, resumed=True)
    assert faults(ledger, session(*events(0, 1), end="1006"), back) == {}


def test_an_event_lost_between_two_connections_is_lost(ledger: Ledger) -> None:
    back = session(*events(4), since=20, start=20, resumed=True)
    assert faults(ledger, session(*events(0, 1)), back) == {"lost": 1}


def test_an_event_that_comes_again_is_doubled(ledger: Ledger) -> None:
    back = session(*events(1, 2, 4), since=20, start=20, resumed=True)
    assert faults(ledger, session(*events(0, 1)), back) == {"doubled": 1}


def test_an_event_under_two_ids_is_doubled(ledger: Ledger) -> None:
    heard = [*events(0, 1, 2), Event(35, 2), *events(4)]
    assert faults(ledger, session(*heard)) == {"doubled": 1}


def test_an_event_whose_key_redis_lost_may_come_twice(ledger: Ledger) -> None:
    """A retry across a loss of all data is published anew: docs/guarantees.md says so."""
    ledger.entries[2].first_us, ledger.wipes_us = 22, [25]
    assert faults(ledger, session(*events(0, 1), Event(22, 2), *events(2, 4))) == {}


def test_an_older_id_after_a_newer_one_is_disorder(ledger: Ledger) -> None:
    assert faults(ledger, session(*events(0, 2, 1, 4))) == {"disordered": 1}


def test_an_event_for_somebody_else_is_a_leak(ledger: Ledger) -> None:
    assert faults(ledger, session(*events(0, 1, 2, 3, 4))) == {"leaked": 1}
    assert faults(ledger, session(*events(0, 1, 4), user=None)) == {"leaked": 1}


def test_an_identity_counts_from_where_it_was_told(ledger: Ledger) -> None:
    login = session(*events(0), Identity("alice"), *events(2, 4), user=None)
    logout = session(*events(0, 1), Identity(None), *events(4))
    assert faults(ledger, login) == {}, "the log-in may have come after event 1"
    assert faults(ledger, logout) == {}, "the log-out may have come before event 2"


def test_a_loss_under_the_new_identity_is_found(ledger: Ledger) -> None:
    login = session(*events(0), Identity("alice"), *events(1, 4), user=None)
    assert faults(ledger, login) == {"lost": 1}


def test_a_loss_that_both_identities_should_have_had_is_found(ledger: Ledger) -> None:
    change = session(Identity("alice"), *events(1, 2, 4), user="bob")
    assert faults(ledger, change) == {"lost": 1}


def test_a_leak_under_the_old_identity_is_found(ledger: Ledger) -> None:
    login = session(*events(0, 1), Identity("alice"), *events(2, 4), user=None)
    assert faults(ledger, login) == {"leaked": 1}


def test_a_loss_by_redis_is_excused_where_it_is_told(ledger: Ledger) -> None:
    ledger.wipes_us = [35]
    verdict = judge(ledger, {"client": [session(*events(0), Gap(38), *events(4))]})
    assert verdict.faults == {}
    assert verdict.excused == 2


def test_a_loss_by_redis_is_not_excused_where_nobody_told(ledger: Ledger) -> None:
    ledger.wipes_us = [35]
    assert faults(ledger, session(*events(0, 4))) == {"lost": 2}


def test_a_gap_excuses_nothing_that_redis_still_had(ledger: Ledger) -> None:
    ledger.wipes_us = [15]
    assert faults(ledger, session(*events(0), Gap(38), *events(4))) == {"lost": 2}


def test_a_gap_without_a_loss_is_false(ledger: Ledger) -> None:
    assert faults(ledger, session(*events(0, 1, 2), Gap(38), *events(4))) == {
        "told without loss": 1
    }


def test_a_loss_that_is_told_twice_is_false_once(ledger: Ledger) -> None:
    ledger.wipes_us = [35]
    told = [Gap(36), Gap(38)]
    assert faults(ledger, session(*events(0, 1, 2), *told, *events(4))) == {"told without loss": 1}


def test_resumed_false_tells_of_what_came_before(ledger: Ledger) -> None:
    ledger.wipes_us = [35]
    back = session(*events(4), since=10, start=45, resumed=False)
    assert faults(ledger, session(*events(0)), back) == {}


def test_resumed_false_without_a_loss_is_false(ledger: Ledger) -> None:
    back = session(*events(4), since=10, start=45, resumed=False)
    assert faults(ledger, session(*events(0)), back) == {"told without loss": 1}


def test_resuming_from_elsewhere_is_dishonest(ledger: Ledger) -> None:
    back = session(*events(4), since=10, start=45, resumed=True)
    assert faults(ledger, session(*events(0)), back) == {"dishonest": 1}


def test_a_close_that_no_failure_explains_is_a_fault(ledger: Ledger) -> None:
    assert faults(ledger, session(end="1011")) == {"thrown out": 1}


def test_an_event_that_stands_twice_in_the_logs_is_doubled(ledger: Ledger) -> None:
    verdict = Verdict()
    judge_logs(verdict, ledger, [(10, 0), (20, 1), (25, 1)])
    assert verdict.count("doubled") == 1
