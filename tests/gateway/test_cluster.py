"""A pod on a cluster of three primaries, in memory: faults that only several clocks can cause.

The shared streams are on one primary, alice's stream is on another. Their times differ, and either
connection may lag behind the other.
"""

from __future__ import annotations

import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience
from clarion_contract.events.event import Publication
from clarion_gateway.clients.opening import Opening
from tests.gateway.clients.test_admission import Door
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.memory_bus import node_of

ALICE = Audience("user", "alice")
SHARED, HERS = node_of(ALL.stream), node_of(ALICE.stream)
CLUSTER = "redis+cluster://localhost:6379"
MILLISECONDS = 1_000
OVERLAP_SECONDS = 20
"""More than a position may be wrong by: 5 s between probes, 2 x 5 s for them, 1 s for the clocks."""

RECONNECTED_SECONDS = 0.11
"""After so long the pod has a new connection: its first pause is at most 0.1 s."""


class Clustered(Door):
    """A pod with an admission, on a cluster."""

    def __init__(self, loop: ClockworkLoop) -> None:
        super().__init__(loop, redis_url=CLUSTER)
        loop.advance(OVERLAP_SECONDS)  # all that is needed is younger than the data set

    def lose_the_connection(self) -> None:
        self.subscriber.cut()

    def publish_unheard(self, audience: Audience) -> int:
        id_ = self.bus.publish(Publication(audience, "tick", b"{}")).id
        self.subscriber.swallow()
        return id_


@pytest.fixture
def pod(loop: ClockworkLoop) -> Clustered:
    return Clustered(loop)


@pytest.mark.parametrize("ahead", [-400 * MILLISECONDS, 400 * MILLISECONDS])
def test_events_come_though_clocks_differ(pod: Clustered, ahead: int) -> None:
    """Right after a connection began, an id below that of its first probe may still be new."""
    pod.bus.ahead[HERS] = ahead
    pod.log_alice_in()
    pod.lose_the_connection()
    pod.loop.advance(RECONNECTED_SECONDS)
    ids = [pod.publish(to)[0] for to in (ALICE, ALL, ALICE, AUTHENTICATED)]
    assert sorted(pod.alice.event_ids) == sorted(ids)
    assert pod.nobody.event_ids == [ids[1]]


def test_a_position_is_of_the_shared_clock(pod: Clustered) -> None:
    """However far ahead a user's clock is, a client that connects must miss no event for all."""
    pod.bus.ahead[HERS] = 400 * MILLISECONDS
    pod.log_alice_in()
    (ahead,) = pod.publish(ALICE)
    assert pod.delivery.position < ahead
    (shared,) = pod.publish(ALL)
    assert pod.delivery.position == shared < ahead
    pod.lose_the_connection()
    missed = pod.publish(ALL)
    pod.loop.advance(1)
    assert pod.nobody.event_ids == [shared, *missed]


def test_what_comes_for_a_user_who_joined_while_redis_was_away_is_made_up_for(
    pod: Clustered,
) -> None:
    """The new connection finds the end of her stream, though nothing was ever heard on it."""
    pod.bus.down = True
    pod.lose_the_connection()
    pod.loop.settle()
    joining = pod.joining("alice")
    pod.loop.settle()
    pod.bus.down = False
    pod.loop.advance(3)
    assert joining.done()
    pod.hub.add(pod.alice)
    pod.lose_the_connection()
    ids = pod.publish(ALICE)
    pod.loop.advance(3)
    assert pod.alice.event_ids == ids


@pytest.mark.parametrize("on", [SHARED, HERS])
def test_after_a_failover_streams_are_made_up_for_from_where_they_end(
    pod: Clustered, on: int
) -> None:
    """Events heard before the failover no longer count; events missed afterwards do."""
    pod.log_alice_in()
    pod.publish(ALICE)
    pod.publish(ALL)
    pod.bus.lose_last(1, on)
    pod.lose_the_connection()
    pod.loop.advance(1)
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}]
    before = pod.alice.event_ids
    pod.lose_the_connection()
    missed = [*pod.publish(ALICE), *pod.publish(ALL)]
    pod.loop.advance(1)
    assert pod.alice.event_ids == before + missed
    assert len(pod.gaps) == 1


def test_a_failover_that_only_a_probe_tells_of_leaves_streams_counted(pod: Clustered) -> None:
    """The pod stays connected and notices it by `prev`. All are told, and nothing is read twice."""
    pod.log_alice_in()
    pod.publish(ALICE)
    pod.loop.advance(6)
    pod.bus.lose_last(1, HERS)  # the probe
    pod.loop.advance(6)
    assert [audiences for audiences, _ in pod.gaps] == [{ALL}]
    before = pod.alice.event_ids
    pod.lose_the_connection()
    missed = pod.publish(ALICE)
    pod.loop.advance(1)
    assert pod.alice.event_ids == before + missed
    assert len(pod.gaps) == 1


@pytest.mark.parametrize("ahead", [-400 * MILLISECONDS, 400 * MILLISECONDS])
def test_a_loss_of_a_users_stream_lies_before_all_that_was_not_heard(
    pod: Clustered, ahead: int
) -> None:
    """The ids of her clock do not say where it is among the events for all."""
    pod.log_alice_in()
    pod.publish(ALICE)
    pod.bus.ahead[HERS] = ahead
    pod.lose_the_connection()
    position = pod.delivery.position
    shared = pod.publish(ALL, 2)
    pod.publish(ALICE, 3)
    pod.bus.trim(ALICE.stream, 1)
    pod.loop.advance(RECONNECTED_SECONDS)
    assert pod.gaps == [({ALICE}, position)]
    assert pod.heard_before_gaps == [[]]
    assert pod.nobody.event_ids == shared
    assert shared[-1] <= pod.delivery.position < shared[-1] + 200 * MILLISECONDS


def test_a_gap_of_a_users_stream_is_repaired_by_its_own_ids(pod: Clustered) -> None:
    """The position on the shared streams does not change."""
    pod.bus.ahead[HERS] = 400 * MILLISECONDS
    pod.log_alice_in()
    ids = pod.publish(ALICE)
    ids.append(pod.publish_unheard(ALICE))
    ids += pod.publish(ALICE)
    assert pod.alice.event_ids == ids
    assert pod.delivery.position < ids[0]
    pod.lose_the_connection()
    shared = pod.publish(ALL)
    pod.loop.advance(RECONNECTED_SECONDS)
    assert pod.nobody.event_ids == shared
    assert pod.gaps == []


def test_a_loss_whose_telling_is_cut_short_hides_nothing_that_follows(pod: Clustered) -> None:
    """The next connection reads on from where the loss ends."""
    pod.log_alice_in()
    first = pod.publish(ALICE)
    pod.publish_unheard(ALICE)
    pod.bus.trim(ALICE.stream, 0)
    pod.loop.run_until_complete(pod.delivery.between_rounds().acquire())  # a round that takes long
    pod.publish(ALICE)
    pod.lose_the_connection()
    missed = pod.publish(ALICE)
    pod.loop.advance(20)
    pod.delivery.between_rounds().release()
    pod.loop.advance(1)
    assert [audiences for audiences, _ in pod.gaps] == [{ALICE}]
    assert pod.alice.event_ids[0] == first[0]
    assert pod.alice.event_ids[-1] == missed[0]


def test_what_is_published_while_a_failover_is_told_is_not_taken_for_older(
    pod: Clustered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams keep their ends until clients are told, so later events are delivered."""
    pod.log_alice_in()
    pod.publish(ALICE)
    pod.loop.advance(6)
    pod.bus.lose_last(1, HERS)  # a probe: the pod stays connected, and learns by the next one
    told: list[int] = []

    def publish_as_soon_as_clients_know(audiences: object, position: int) -> None:
        told.append(pod.bus.publish(Publication(ALICE, "tick", b"{}")).id)

    monkeypatch.setattr(pod.subscription._repair, "_tell_gap", publish_as_soon_as_clients_know)
    pod.loop.advance(6)
    assert len(told) == 1
    assert pod.alice.event_ids[-1:] == told


def test_a_failover_of_a_cluster_is_told_before_all_that_was_not_heard(pod: Clustered) -> None:
    pod.log_alice_in()
    pod.publish(ALICE)
    pod.bus.ahead[HERS] = 400 * MILLISECONDS
    pod.bus.lose_last(2, HERS)  # a probe, and the event
    pod.lose_the_connection()
    position = pod.delivery.position
    shared = pod.publish(ALL, 2)
    (hers,) = pod.publish(ALICE)
    pod.loop.advance(RECONNECTED_SECONDS)
    assert pod.gaps == [({ALL}, position)]
    assert pod.nobody.event_ids == shared
    assert pod.alice.event_ids[1:] == [*shared, hers]
    assert shared[-1] < pod.ring.broken_until < hers, "an id of the shared clock"


def test_an_event_of_a_former_primary_is_none(pod: Clustered) -> None:
    """No log has it, so no client that resumes would get it."""
    pod.log_alice_in()
    before = pod.publish(ALICE, 2)
    pod.bus.publish_on_former_primary(ALICE)
    pod.loop.settle()
    after = pod.publish(ALICE)
    assert pod.alice.event_ids == before + after
    assert pod.gaps == []


def test_a_refresh_waits_for_what_is_for_users_to_be_handed_over(pod: Clustered) -> None:
    """An event for a user moves no position, so the position cannot show it."""
    pod.log_alice_in()
    pod.subscriber.lag(HERS)
    pod.bus.publish(Publication(ALICE, "tick", b"{}"))
    refreshed = pod.loop.spawn(pod.subscription.refresh())
    pod.loop.settle()
    pod.loop.run_until_complete(pod.delivery.between_rounds().acquire())
    pod.subscriber.arrive(HERS)
    pod.loop.settle()
    assert not refreshed.done()
    pod.delivery.between_rounds().release()
    pod.loop.settle()
    assert refreshed.done()
    assert len(pod.alice.event_ids) == 1


def test_what_is_on_its_way_to_a_client_that_resumes_comes_once(pod: Clustered) -> None:
    """Its log already has the event, and the connection to its primary lags behind."""
    first = pod.enter(Opening("alice", None))
    (since,) = pod.publish(ALICE)
    assert first.event_ids == [since]
    pod.leave(first)
    pod.subscriber.lag(HERS)
    (late,) = pod.publish(ALICE)
    back = pod.knock(Opening("alice", str(since), first.id))
    pod.loop.settle()
    assert not back.written, "still to come, or already there: nobody can tell yet"
    pod.subscriber.arrive(HERS)
    pod.loop.settle()
    assert back.messages[0]["resumed"] is True
    assert back.event_ids == [late]


def test_a_log_that_begins_with_the_clients_last_event_is_whole(pod: Clustered) -> None:
    """Reading begins an overlap earlier, where the log has nothing."""
    first = pod.enter(Opening("alice", None))
    pod.publish(ALICE)
    (since,) = pod.publish(ALICE)
    pod.leave(first)
    pod.bus.trim(ALICE.stream, 1)
    missed = pod.publish(ALICE)
    back = pod.enter(Opening("alice", str(since)))
    assert back.messages[0]["resumed"] is True
    assert back.event_ids == missed


def test_a_log_that_lacks_an_event_after_the_clients_position_is_not_whole(
    pod: Clustered,
) -> None:
    first = pod.enter(Opening("alice", None))
    (since,) = pod.publish(ALICE)
    pod.leave(first)
    pod.publish(ALICE, 2)
    pod.bus.trim(ALICE.stream, 1)
    back = pod.enter(Opening("alice", str(since)))
    assert back.messages[0]["resumed"] is False
