"""The oracle finds every kind of fault, and reports none where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.cluster_oracle import judge_cluster
from tests.chaos.ledger import TOPIC, Ledger
from tests.chaos.oracle import Verdict, judge, judge_logs, judge_refusals
from tests.chaos.revoking import Order, Token, team_of
from tests.chaos.session import Event, Gap, Heard, Identity, Session, Topics

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


def test_a_client_that_had_all_its_events_is_clean(ledger: Ledger) -> None:
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
    """The scenario checks that such events arrive in the end: a client without them is stuck."""
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
    """A retry after Redis lost all data is published anew, as docs/guarantees.md says."""
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


def test_a_failover_excuses_no_accepted_event(ledger: Ledger) -> None:
    ledger.failovers_us = [(32, 38)]
    verdict = judge(ledger, {"client": [session(*events(0), Gap(38), *events(4))]})
    assert {kind: len(found) for kind, found in verdict.faults.items()} == {"lost": 2}


def test_a_failover_may_be_told_and_lose_what_was_not_accepted(ledger: Ledger) -> None:
    ledger.failovers_us = [(15, 38)]
    ledger.entries[3].accepted_us = 45
    ledger.entries[2].first_us, ledger.entries[2].accepted_us = 22, 35
    heard = [*events(0, 1), Event(22, 2), Gap(25), *events(2, 4)]
    assert faults(ledger, session(*heard)) == {}
    assert faults(ledger, session(*events(4), since=20, start=45, resumed=False)) == {}


def test_what_a_handler_published_is_due_to_all_but_its_sender(ledger: Ledger) -> None:
    ledger.entries[1].sender = "client"
    ledger.entries[1].id = None
    ledger.locate([(IDS[number], number) for number in range(5)])
    assert ledger.entries[1].id == 20
    heard = session(*events(0, 2, 4))
    assert judge(ledger, {"client": [heard]}).faults == {}
    assert judge(ledger, {"another": [heard]}).count("lost") == 1
    heard = session(*events(0, 1, 2, 4))
    heard.said = {1}
    assert judge(ledger, {"client": [heard]}).count("echoed") == 1


def test_what_was_confirmed_to_its_sender_stands_in_the_log(ledger: Ledger) -> None:
    ledger.entries[1].id = None
    assert judge(ledger, {}).count("lost") == 1
    ledger.wipes_us = [30]
    assert judge(ledger, {}).faults == {}


def order(**kind: Any) -> Order:
    """An order, sent at 22 and confirmed at 25."""
    return Order("alice", asked_us=22, confirmed_us=25, **kind)


TOKEN = Token("alice", "one", issued_us=1)
TEAM = frozenset({team_of("alice")})
ORDERS = [{"token_id": "one"}, {"issued_before_us": 2}, {"disconnects": True}]


@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_an_order_explains_a_close_of_its_own_kind(ledger: Ledger, kind: Any) -> None:
    right, wrong = ("4409", "4401") if "disconnects" in kind else ("4401", "4409")
    ledger.orders = [order(**kind)]
    closed = session(*events(0, 1), end=right)
    closed.token, closed.topics = TOKEN, TEAM
    assert faults(ledger, closed) == {}
    closed.end = wrong
    assert faults(ledger, closed) == {"thrown out": 1}
    ledger.orders = []
    closed.end = right
    assert faults(ledger, closed) == {"thrown out": 1}


@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_a_connection_that_outlives_its_order_is_a_fault(ledger: Ledger, kind: Any) -> None:
    ledger.orders = [order(**kind)]
    kept = session(*events(0, 1, 2))
    kept.token, kept.topics, kept.welcomed_us = TOKEN, TEAM, 8
    assert faults(ledger, kept) == {"kept": 1}
    kept.heard = events(0, 1)
    assert faults(ledger, kept) == {}
    kept.heard, ledger.wipes_us = events(0, 1, 2), [28]
    assert faults(ledger, kept) == {}, "Redis lost the order"


@pytest.mark.parametrize("kind", ORDERS, ids=str)
def test_a_revoked_token_that_is_let_in_is_a_fault(ledger: Ledger, kind: Any) -> None:
    ledger.orders = [order(**kind)]
    back = session(start=30)
    back.token, back.topics, back.dialled_us, back.welcomed_us = TOKEN, TEAM, 28, 29
    assert faults(ledger, back) == ({} if "disconnects" in kind else {"let in": 1})
    back.dialled_us = 24
    assert faults(ledger, back) == {}


def test_a_pod_that_has_fallen_silent_lets_a_revoked_token_in_and_closes_it(ledger: Ledger) -> None:
    ledger.orders = [order(token_id=TOKEN.id)]
    back = session(start=30)
    back.token, back.topics, back.dialled_us, back.welcomed_us = TOKEN, TEAM, 28, 29
    back.end = "4401"
    assert faults(ledger, back) == {"let in": 1}
    ledger.silences_us = [27]
    assert faults(ledger, back) == {"let in": 1}, "the pod could hear the order"
    ledger.silences_us = [24]
    assert faults(ledger, back) == {}
    back.end = ""
    assert faults(ledger, back) == {"let in": 1}, "it was not closed"
    back.end, back.dialled_us = "4401", 10_000_025
    assert faults(ledger, back) == {"let in": 1}, "the pod should have found out"


def test_a_refusal_needs_a_revocation(ledger: Ledger) -> None:
    verdict = Verdict()
    judge_refusals(verdict, ledger, [TOKEN])
    assert verdict.count("refused") == 1
    ledger.orders = [order(issued_before_us=2)]
    judge_refusals(verdict, ledger, [TOKEN, Token("alice", issued_us=3)])
    assert verdict.count("refused") == 2


# Topics: events 0 to 5, at ids 10 to 60.
ROOM = frozenset({"room.1"})
NONE: frozenset[str] = frozenset()


@pytest.fixture
def rooms() -> Ledger:
    """Events of a room and of all, in turn."""
    ledger = Ledger()
    for number in range(6):
        entry = ledger.new("all" if number % 2 else TOPIC + "room.1")
        entry.id = 10 * (number + 1)
        entry.first_us, entry.accepted_us = entry.id - 1, entry.id + 1
    return ledger


def of_rooms(*numbers: int) -> list[Heard]:
    return [Event(10 * (number + 1), number) for number in numbers]


def roomy(*heard: Heard, topics: frozenset[str] = ROOM, **options: Any) -> Session:
    """A connection that asked for topics."""
    session_ = session(*heard, **options)
    session_.topics = session_.asked = topics
    return session_


JUDGES = pytest.mark.parametrize("judging", [judge, judge_cluster])


def found(judging: Any, ledger: Ledger, *sessions: Session) -> dict[str, int]:
    verdict = judging(ledger, {"client": sessions})
    return {kind: len(faults) for kind, faults in verdict.faults.items()}


@JUDGES
def test_members_of_a_topic_have_all_of_it_and_others_nothing(rooms: Ledger, judging: Any) -> None:
    assert found(judging, rooms, roomy(*of_rooms(0, 1, 2, 3, 4, 5))) == {}
    assert found(judging, rooms, roomy(*of_rooms(1, 3, 5), topics=NONE)) == {}
    assert found(judging, rooms, roomy(*of_rooms(0, 1, 3, 4, 5))) == {"lost": 1}
    assert found(judging, rooms, roomy(*of_rooms(1, 2, 3, 5), topics=NONE)) == {"leaked": 1}


@JUDGES
def test_a_topic_that_comes_is_due_from_there_and_one_that_goes_until_there(
    rooms: Ledger, judging: Any
) -> None:
    joins = [*of_rooms(1), Topics(ROOM, 25)]
    leaves = [*of_rooms(0, 1, 2), Topics(NONE)]
    assert found(judging, rooms, roomy(*joins, *of_rooms(2, 3, 4, 5), topics=NONE)) == {}
    assert found(judging, rooms, roomy(*leaves, *of_rooms(3, 5))) == {}
    assert found(judging, rooms, roomy(*leaves, *of_rooms(3, 4, 5))) == {"leaked": 1}
    back = [*leaves, *of_rooms(3), Topics(ROOM, 45), *of_rooms(4, 5)]
    assert found(judging, rooms, roomy(*back)) == {}


@JUDGES
def test_a_hole_in_a_topic_before_the_client_gave_it_up_is_found(
    rooms: Ledger, judging: Any
) -> None:
    leaves = [*of_rooms(0, 1, 3, 4), Topics(NONE), *of_rooms(5)]
    assert found(judging, rooms, roomy(*leaves)) == {"lost": 1}


def test_the_first_event_of_a_new_topic_is_due(rooms: Ledger) -> None:
    """On a cluster, ids of two clocks do not compare: the first one says where the topic begins."""
    joins = [*of_rooms(1), Topics(ROOM, 25), *of_rooms(3, 4, 5)]
    assert found(judge, rooms, roomy(*joins, topics=NONE)) == {"lost": 1}


@JUDGES
def test_a_topic_that_is_resumed_has_no_hole_between_two_connections(
    rooms: Ledger, judging: Any
) -> None:
    first = roomy(*of_rooms(0, 1))
    assert found(judging, rooms, first, back_in_room(2, 3, 4, 5)) == {}
    assert found(judging, rooms, first, back_in_room(3, 4, 5)) == {"lost": 1}


def back_in_room(*numbers: int) -> Session:
    return roomy(*of_rooms(*numbers), since=20, start=20, resumed=True)


@JUDGES
def test_a_topic_that_is_not_resumed_needs_a_loss(rooms: Ledger, judging: Any) -> None:
    back = back_in_room(3, 4, 5)
    back.not_resumed = ROOM
    assert found(judging, rooms, roomy(*of_rooms(0, 1)), back) == {"told without loss": 1}
    rooms.wipes_us = [35]
    assert found(judging, rooms, roomy(*of_rooms(0, 1)), back) == {}


@JUDGES
def test_a_topic_that_the_token_grants_and_the_client_lacks_is_a_fault(
    rooms: Ledger, judging: Any
) -> None:
    without = roomy(*of_rooms(1, 3, 5), topics=NONE)
    without.asked = ROOM
    assert found(judging, rooms, without) == {"topics": 1}
