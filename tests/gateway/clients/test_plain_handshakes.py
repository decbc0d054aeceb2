"""`clarion_gateway.clients.plain_handshakes`: clients that are welcomed together.

They are refused for the same reasons as tests/gateway/clients/test_admission.py has, each by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

import pytest

from clarion_contract.bus.history import History
from clarion_contract.bus.orders import RevokeUser, encode_order
from clarion_contract.events.audience import ALL, Audience
from clarion_gateway.clients.opening import Opening, Recovering
from clarion_gateway.clients.plain_handshakes import PlainHandshakes
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import State
from tests.gateway.clients.test_admission import ALICE, Door, welcome_of
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.recorder import Recorder, sample
from tests.gateway.test_cluster import CLUSTER, HERS, OVERLAP_SECONDS


class PlainDoor(Door):
    """A pod whose plain clients are welcomed together."""

    def __init__(self, loop: ClockworkLoop, **overrides: Any) -> None:
        super().__init__(loop, **overrides)
        self.welcomed: list[Recorder] = []
        self.joins: list[Collection[Audience]] = []
        self.plain = PlainHandshakes(
            self.admission,
            self,
            self.spawn,
            seconds=overrides.get("handshake_seconds", 10),
            welcomed=self.welcomed.append,  # type: ignore[arg-type]
        )

    def spawn(self, _name: str, job: Coroutine[Any, Any, None]) -> object:
        return self.loop.create_task(job)

    async def join(self, audiences: Collection[Audience]) -> None:
        self.joins.append(audiences)
        await self.subscription.join(audiences)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subscription, name)

    def call(self, token: str | None = None, opening: Opening | None = None) -> Recorder:
        """Start a plain client's handshake."""
        connection = Recorder()
        self.loop.run_until_complete(self._call(connection, opening or Opening(token, None)))
        return connection

    async def _call(self, connection: Recorder, opening: Opening) -> None:
        self.admission.begin(opening.address)
        assert self.plain.take(connection, opening)

    async def takes(self, opening: Opening) -> bool:
        return self.plain.take(Recorder(), opening)

    def come_back(self, *clients: tuple[str | None, int]) -> list[Recorder]:
        """Start the handshakes of clients that have a position, and come at the same moment."""

        async def all_of_them() -> list[Recorder]:
            connections = [Recorder() for _ in clients]
            for connection, (token, since) in zip(connections, clients, strict=True):
                await self._call(connection, Opening(token, str(since)))
            return connections

        return self.loop.run_until_complete(all_of_them())

    def call_all(self, tokens: Collection[str]) -> list[Recorder]:
        """Start the handshakes of clients that come at the same moment."""

        async def all_of_them() -> list[Recorder]:
            clients = [Recorder() for _ in tokens]
            for client, token in zip(clients, tokens, strict=True):
                await self._call(client, Opening(token, None))
            return clients

        return self.loop.run_until_complete(all_of_them())


@pytest.fixture
def door(loop: ClockworkLoop) -> PlainDoor:
    return PlainDoor(loop)


def test_a_plain_client_gets_the_same_welcome_as_others(door: PlainDoor) -> None:
    for token in (None, "alice@90"):
        plain = door.call(token)
        door.loop.advance(0.1)  # the second one's join may have to wait for its turn
        other = door.enter(Opening(token, None))
        assert welcome_of(plain) == welcome_of(other) | {"connection": plain.id}
        assert plain.state is State.LIVE
        assert door.welcomed[-1] is plain
    assert len(door.hub.of_user("alice")) == 2
    assert door.outcomes("accepted") == 4
    assert sample(door.metrics, "clarion_handshake_duration_seconds_count") == 4
    assert door.admission.opening == 0


def test_it_hears_everything_above_its_position(door: PlainDoor) -> None:
    before = door.publish(ALICE)
    client = door.call("alice")
    door.loop.settle()
    after = door.publish(ALICE)
    assert int(welcome_of(client)["id"]) >= before[0]
    assert client.event_ids == after


def test_clients_that_come_together_share_few_joins(door: PlainDoor) -> None:
    probes = door.subscription._prober.sent
    clients = door.call_all([f"user-{n}" for n in range(300)])
    door.loop.settle()
    door.loop.advance(1)
    assert all(welcome_of(each)["user"] == f"user-{n}" for n, each in enumerate(clients))
    assert len(door.joins) <= 6
    assert door.subscription._prober.sent - probes <= 6


def test_clients_that_come_one_after_the_other_share_joins_without_the_first_waiting(
    door: PlainDoor,
) -> None:
    first = door.call("first")
    door.loop.settle()
    assert welcome_of(first)["user"] == "first"
    others = []
    for n in range(5):
        door.loop.advance(0.001)
        others.append(door.call(f"user-{n}"))
    door.loop.settle()
    assert len(door.joins) == 1
    door.loop.advance(0.01)
    assert [welcome_of(each)["user"] for each in others] == [f"user-{n}" for n in range(5)]
    assert len(door.joins) == 2


@pytest.mark.parametrize(
    ("token", "label", "code"),
    [
        ("forged", "unauthenticated", 4401),
        ("x" * 10_000, "unauthenticated", 4401),
        ("bug", "internal_error", 1011),
    ],
)
def test_a_refusal_is_a_close_and_an_outcome(
    door: PlainDoor, token: str, label: str, code: int
) -> None:
    client = door.call(token)
    assert client.closed_with is not None
    assert (client.closed_with.label, client.closed_with.code) == (label, code)
    assert door.outcomes(label) == 1
    assert door.admission.opening == 0
    assert not door.joins


def test_why_a_token_was_refused_is_counted_once(door: PlainDoor) -> None:
    door.call("forged")
    assert sample(door.metrics, "clarion_tokens_refused_total", reason="signature") == 1


@pytest.mark.parametrize(
    "opening",
    [
        Opening("alice+news", "17"),
        Opening(None, None, topics=("news",)),
        Opening(None, None, last="5"),
        Opening(None, None, recovering=Recovering("pid", lambda _: None)),
        Opening("keyless", None),
    ],
)
def test_clients_that_need_more_are_left_to_admission(door: PlainDoor, opening: Opening) -> None:
    assert not door.loop.run_until_complete(door.takes(opening))
    assert door.admission.opening == 0


def test_each_client_has_its_own_time(loop: ClockworkLoop) -> None:
    door = PlainDoor(loop, handshake_seconds=10)
    door.bus.down = True
    first = door.call("alice")
    loop.advance(1)
    second = door.call("bob")
    loop.advance(1)
    third = door.call("carol")
    loop.advance(1)
    fourth = door.call("dave")  # waits for the same join as the third
    loop.advance(6.9)
    assert first.closed_with is None
    loop.advance(0.2)
    assert first.closed_with is not None
    assert first.closed_with.label == "unavailable"
    assert second.closed_with is None
    assert third.closed_with is None
    loop.advance(1)
    assert second.closed_with is not None
    assert third.closed_with is None
    loop.advance(1)
    assert third.closed_with is not None
    assert fourth.closed_with is None
    loop.advance(1)
    assert fourth.closed_with is not None
    assert door.outcomes("unavailable") == 4
    assert door.admission.opening == 0


def test_a_client_whose_time_is_not_up_is_welcomed_when_redis_is_back(loop: ClockworkLoop) -> None:
    door = PlainDoor(loop, handshake_seconds=60)
    door.bus.down = True
    early = door.call("alice")
    loop.advance(55)
    late = door.call("bob")
    loop.advance(6)
    door.bus.down = False
    loop.advance(40)
    assert early.closed_with is not None
    assert welcome_of(late)["user"] == "bob"


def test_a_client_that_leaves_meanwhile_costs_the_others_nothing(door: PlainDoor) -> None:
    first, second = door.call_all(["alice", "bob"])
    first.state = State.CLOSED
    door.loop.settle()
    assert first.messages == []
    assert first not in set(door.hub.connections)
    assert welcome_of(second)["user"] == "bob"
    assert door.outcomes("abandoned") == 1
    assert door.outcomes("accepted") == 1


def test_a_user_who_is_revoked_meanwhile_is_refused(door: PlainDoor) -> None:
    client, other = door.call_all(["alice", "bob"])
    door.revocations.hear(encode_order(RevokeUser("alice", 60.0, 1e9)))
    door.loop.settle()
    assert client.closed_with is not None
    assert client.closed_with.code == 4401
    assert welcome_of(other)["user"] == "bob"


def test_clients_of_one_user_that_come_together_do_not_pass_its_limit(loop: ClockworkLoop) -> None:
    door = PlainDoor(loop, max_connections_per_user=2)
    clients = door.call_all(["alice"] * 3)
    loop.settle()
    assert [each.closed_with is None for each in clients] == [True, True, False]
    assert len(door.hub.of_user("alice")) == 2


def test_a_bug_with_one_client_costs_the_others_nothing(
    door: PlainDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = door.hub.add

    def broken(connection: Recorder, identity: Any, *rest: Any, **options: Any) -> None:
        if identity.user == "alice":
            raise ZeroDivisionError
        add(connection, identity, *rest, **options)

    monkeypatch.setattr(door.hub, "add", broken)
    first, second = door.call_all(["alice", "bob"])
    door.loop.settle()
    assert first.closed_with is not None
    assert first.closed_with.label == "internal_error"
    assert welcome_of(second)["user"] == "bob"
    assert door.admission.opening == 0


class Reads:
    """The reads of logs, which can be held up."""

    def __init__(self, door: PlainDoor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._read = door.bus.history
        monkeypatch.setattr(door.bus, "history", self._history)

    async def _history(self, ranges: Any, **options: Any) -> list[History]:
        self.streams.append(len(ranges))
        await self.gate.wait()
        return await self._read(ranges, **options)


def test_a_client_that_comes_back_gets_what_others_get(door: PlainDoor) -> None:
    for token, missed in (("alice@90", [ALL, ALICE, ALL]), (None, [ALL]), ("alice", [])):
        since = door.delivery.position
        for audience in missed:
            door.publish(audience)
        (plain,) = door.come_back((token, since))
        door.loop.advance(0.1)
        other = door.enter(Opening(token, str(since)))
        assert plain.messages == [
            welcome_of(other) | {"connection": plain.id},
            *other.messages[1:],
        ]
        assert welcome_of(plain)["resumed"] is True
        assert len(plain.event_ids) == len(missed)
        assert plain.state is State.LIVE
        assert door.welcomed[-1] is plain
        live = door.publish(ALL)
        assert plain.event_ids[len(missed) :] == live
    assert door.outcomes("accepted") == 6
    assert sample(door.metrics, "clarion_resumes_total", outcome="resumed") == 6
    assert door.admission.opening == 0


def test_a_storm_of_clients_that_come_back_takes_few_reads(
    door: PlainDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = door.delivery.position
    users = [f"user-{number}" for number in range(300)]
    own = {user: door.publish(Audience("user", user)) for user in users[::2]}
    (shared,) = door.publish(ALL)
    reads = Reads(door, monkeypatch)
    clients = door.come_back(*((user, since) for user in users))
    door.loop.advance(1)
    for user, client in zip(users, clients, strict=True):
        assert welcome_of(client)["resumed"] is True
        assert client.event_ids == [*own.get(user, []), shared]
    assert sum(reads.streams) == 300
    assert len(reads.streams) <= 4


def test_events_that_come_while_the_logs_are_read_are_not_lost(
    door: PlainDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = door.delivery.position
    before = door.publish(ALICE) + door.publish(ALL)
    reads = Reads(door, monkeypatch)
    reads.gate.clear()
    (client,) = door.come_back(("alice", since))
    door.loop.settle()
    assert client.messages == []
    meanwhile = door.publish(ALICE) + door.publish(ALL)
    reads.gate.set()
    door.loop.settle()
    after = door.publish(ALICE) + door.publish(ALL)
    assert client.event_ids == before + meanwhile + after


def test_a_client_that_missed_much_does_not_keep_the_others(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = PlainDoor(loop)
    since = door.delivery.position
    much = door.publish(ALICE, 300)
    reads = Reads(door, monkeypatch)
    client, other = door.come_back(("alice", since), ("bob", since))
    client.taking.clear()
    door.loop.settle()
    assert welcome_of(other)["resumed"] is True
    assert other.state is State.LIVE
    assert reads.streams == [2, 1]
    assert client.state is State.CATCHING_UP
    assert client not in door.welcomed
    client.taking.set()
    door.loop.settle()
    assert client.event_ids == much
    assert door.welcomed == [other, client]
    assert door.outcomes("accepted") == 2


def test_a_client_is_waited_for_while_it_catches_up_with_more_than_fits(door: PlainDoor) -> None:
    since = door.delivery.position
    much = door.publish(ALL, 40, data=b"1" * 4_000)
    (client,) = door.come_back((None, since))
    client.taking.clear()
    door.loop.settle()
    assert client.state is State.CATCHING_UP
    assert 0 < len(client.event_ids) < 40
    assert door.welcomed == []
    client.taking.set()
    door.loop.settle()
    assert client.event_ids == much
    assert client.state is State.LIVE
    assert door.welcomed == [client]


def test_a_position_that_is_none_of_this_redis_is_not_resumed(door: PlainDoor) -> None:
    (client,) = door.come_back(("alice", door.delivery.position + 1_000_000_000))
    door.loop.advance(1)
    assert welcome_of(client)["resumed"] is False
    after = door.publish(ALICE)
    assert client.event_ids == after


def test_lost_history_is_told_to_each_client_that_it_concerns(door: PlainDoor) -> None:
    since = door.delivery.position
    door.publish(ALICE, 2)
    door.bus.trim("user:alice", 1)
    client, other = door.come_back(("alice", since), ("bob", since))
    door.loop.settle()
    assert welcome_of(client)["resumed"] is False
    assert client.state is State.LIVE
    assert welcome_of(other)["resumed"] is True
    assert sample(door.metrics, "clarion_resumes_total", outcome="not_resumed") == 1


@pytest.mark.parametrize("since", ["x", "-1", "9" * 30])
def test_a_position_that_is_none_is_refused_at_once(door: PlainDoor, since: str) -> None:
    client = door.call(opening=Opening(None, since))
    assert client.closed_with is close_codes.INVALID_SINCE
    assert door.admission.opening == 0


def test_clients_that_come_back_have_their_own_time(
    loop: ClockworkLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = PlainDoor(loop, handshake_seconds=10)
    reads = Reads(door, monkeypatch)
    reads.gate.clear()
    (first,) = door.come_back(("alice", door.delivery.position))
    loop.advance(2)
    (second,) = door.come_back(("bob", door.delivery.position))
    loop.advance(8.1)
    assert first.closed_with is close_codes.UNAVAILABLE
    assert second.closed_with is None
    reads.gate.set()
    loop.advance(1)
    assert welcome_of(second)["resumed"] is True
    assert door.admission.opening == 0


def test_one_that_leaves_while_the_logs_are_read_costs_the_others_nothing(
    door: PlainDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(door, monkeypatch)
    reads.gate.clear()
    since = door.delivery.position
    first, second = door.come_back(("alice", since), ("bob", since))
    door.loop.settle()
    door.leave(first)
    reads.gate.set()
    door.loop.settle()
    assert first.messages == []
    assert first not in set(door.hub.connections)
    assert welcome_of(second)["resumed"] is True
    assert door.outcomes("abandoned") == 1


def test_a_bug_while_logs_are_read_costs_nobody_the_handshake(
    door: PlainDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(door.admission.welcoming._resumption, "glance", broken)
    since = door.delivery.position
    missed = door.publish(ALICE)
    client, other = door.come_back(("alice", since), ("bob", since))
    door.loop.settle()
    assert client.event_ids == missed
    assert welcome_of(other)["resumed"] is True


def test_keepalive_looks_after_a_client_that_came_back(door: PlainDoor) -> None:
    (client,) = door.come_back(("alice", door.delivery.position))
    door.loop.settle()
    door.sweeper.sweep()
    assert client.pings == 1


# On a cluster


@pytest.fixture
def clustered(loop: ClockworkLoop) -> PlainDoor:
    door = PlainDoor(loop, redis_url=CLUSTER)
    loop.advance(OVERLAP_SECONDS)  # all that is needed is younger than the data set
    door.call("alice")
    loop.advance(0.1)
    return door


def test_what_is_on_its_way_to_a_client_that_resumes_comes_once(clustered: PlainDoor) -> None:
    """Its log already has the event, and the connection to its primary lags behind."""
    (since,) = clustered.publish(ALICE)
    clustered.subscriber.lag(HERS)
    (late,) = clustered.publish(ALICE)
    (client,) = clustered.come_back(("alice", since))
    clustered.loop.advance(0.1)
    assert not client.written, "still to come, or already there: nobody can tell yet"
    clustered.subscriber.arrive(HERS)
    clustered.loop.advance(0.1)
    assert welcome_of(client)["resumed"] is True
    assert client.event_ids == [late]


def test_a_log_that_begins_with_the_clients_last_event_is_whole(clustered: PlainDoor) -> None:
    """Reading begins an overlap earlier, where the log has nothing."""
    clustered.publish(ALICE)
    (since,) = clustered.publish(ALICE)
    clustered.bus.trim(ALICE.stream, 1)
    missed = clustered.publish(ALICE)
    (client,) = clustered.come_back(("alice", since))
    clustered.loop.advance(0.1)
    assert welcome_of(client)["resumed"] is True
    assert client.event_ids == missed
