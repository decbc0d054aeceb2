"""`clarion_gateway.clients.admission.Admission`: which clients are admitted, as which user, and
that they get all events they missed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clarion_contract.bus.orders import Order, RevokeToken, RevokeUser, encode_order
from clarion_contract.bus.publish_queue import PublishQueue
from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.errors import InvalidToken, KeysUnavailable
from clarion_contract.events.event import Event, Publication
from clarion_contract.identity.claims import Claims
from clarion_contract.identity.tokens import UnknownKey
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.clients import resumption as module
from clarion_gateway.clients.admission import Admission
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.grants import Grants
from clarion_gateway.clients.hooks import ConnectionHooks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.identity_changes import IdentityChanges
from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.recall import Recall
from clarion_gateway.clients.remembered_topics import RememberedTopics
from clarion_gateway.clients.resumption import Resumption
from clarion_gateway.clients.revocations import Revocations
from clarion_gateway.clients.topics import Topics
from clarion_gateway.clients.user_limits import UserLimits
from clarion_gateway.clients.welcoming import Welcoming
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.connection import State
from clarion_gateway.connections.held import Gap
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.connections.keepalive import Sweeper
from clarion_gateway.delivery.replay import Replay
from clarion_gateway.delivery.replay_room import ReplayRoom
from clarion_gateway.delivery.shares import Party
from clarion_gateway.delivery.topic_rings import TopicRings
from clarion_gateway.wire.format import MAIN
from clarion_gateway.wire.native import NativeFormat
from tests.gateway.bus.test_subscription import Listening
from tests.gateway.clockwork import ClockworkLoop
from tests.gateway.memory_orders import MemoryOrders
from tests.gateway.memory_topics import MemoryTopics
from tests.gateway.recorder import Recorder, sample
from tests.gateway.recorder import settings as settings_of

ALICE = Audience("user", "alice")
ANYBODY = Opening(None, None)


class Verifier:
    """A token is ``<user>`` or ``<user>@<end>``; some texts are no token.

    After the user, ``+<name>`` lists a topic, and ``?<pattern>`` what may be subscribed to.
    """

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    def verify(self, token: str) -> Claims:
        if not self.gate.is_set() or token == "keyless":
            raise UnknownKey
        return self._verified(token)

    async def verify_fetching(self, token: str) -> Claims:
        await self.gate.wait()
        if token == "keyless":
            raise KeysUnavailable("no keys")
        return self._verified(token)

    def _verified(self, token: str) -> Claims:
        if token == "forged":
            raise InvalidToken("signature", "the token's signature does not match")
        if token == "bug":
            raise ZeroDivisionError
        user, _, ends = token.partition("@")
        user, *words = re.split(r"(?=[+?])", user)
        lists = {
            name: tuple(word[1:] for word in words if word[0] == mark)
            for name, mark in (("topics", "+"), ("subscribe", "?"))
        }
        return Claims(user, frozenset(), float(ends or 1_000), f"id of {token}", 50.0, lists)


class Door(Listening):
    """A pod with an admission."""

    def __init__(self, loop: ClockworkLoop, **overrides: Any) -> None:
        super().__init__(loop, **overrides)
        self.verifier = Verifier()
        configured = settings_of(**overrides)
        self.sweeper = Sweeper(
            ping_interval_seconds=25, token_grace_seconds=30, clock=loop.time, choose=lambda _: 0
        )
        self.revocations = Revocations(MemoryOrders(), self.hub, self.metrics, clock=loop.time)
        self.room = ReplayRoom(
            max_bytes=configured.replays_max_bytes,
            wait_seconds=configured.handshake_seconds / 2,
            clock=loop.time,
        )
        self.rings = TopicRings(
            self.bus,
            max_bytes=configured.topic_replay_max_bytes,
            max_events=configured.replay_max_events,
            max_age_seconds=configured.history_max_age_seconds,
            position=lambda: self.delivery.position,
        )
        self.delivery._topic_rings = self.rings
        self.handlers = Handlers()
        self.host = GatewayHost(
            cast("PublishQueue", None), Asks(self.metrics, max_per_connection=1), Inbound(1 << 20)
        )
        self.memory = MemoryTopics()
        self.remembered = RememberedTopics(
            self.memory, self.hub, self.revocations.have_taken, seconds=600
        )
        self.grants = Grants(self.handlers, self.host, self.metrics, pod=configured.pod, seconds=2)
        self.recall = Recall(
            self.rings,
            self.subscription,
            self.delivery,
            self.room,
            max_events=configured.replay_max_events,
            max_bytes=configured.recall_bytes,
            positions=configured.positions,
            rules=configured.rules,
        )
        identification = Identification(self.verifier, self.revocations, self.metrics)
        users = UserLimits(self.hub, configured)
        self.topics = Topics(self.metrics, max_per_connection=configured.max_topics_per_connection)
        self.identities = IdentityChanges(
            self.hub,
            self.subscription,
            identification,
            users,
            self.topics,
            self.grants,
            self.recall,
            self.sweeper,
            self.metrics,
            wait_seconds=configured.handshake_seconds,
            clock=loop.time,
        )
        resumption = Resumption(
            self.hub,
            self.subscription,
            self.delivery,
            Replay(
                self.bus,
                self.ring,
                self.metrics,
                self.room,
                max_events=configured.replay_max_events,
                max_bytes=configured.replay_client_max_bytes,
                positions=configured.positions,
                topic_rings=self.rings,
            ),
            configured.positions,
        )
        self.admission = Admission(
            self.hub,
            self.subscription,
            Welcoming(
                self.hub,
                self.delivery,
                resumption,
                self.recall,
                self.metrics,
                configured,
                clock=loop.time,
            ),
            identification,
            self.metrics,
            configured,
            users=users,
            topics=self.topics,
            grants=self.grants,
            sweeper=self.sweeper,
        )

    def decides(self, pattern: str) -> Callable[[Any], Any]:
        """Register a function of the application, as `Handlers.on_subscribe`."""

        def register(function: Any) -> Any:
            self.handlers.on_subscribe(pattern)(function)
            self.grants._hooks[MAIN] = self.handlers.subscribes
            return function

        return register

    def knock(self, opening: Opening = ANYBODY, **options: Any) -> Recorder:
        """Start a client's handshake, without waiting for anything."""
        connection = Recorder(**options)
        self.admission.begin()
        self.loop.spawn(self._admit(connection, opening))
        return connection

    def enter(self, opening: Opening = ANYBODY) -> Recorder:
        connection = self.knock(opening)
        self.loop.settle()
        return connection

    def stall(self, opening: Opening) -> Recorder:
        """A client that takes nothing while it catches up, until the test lets it."""
        connection = self.knock(opening)
        connection.taking.clear()
        self.loop.settle()
        return connection

    def log_in(self, connection: Recorder, token: str | None) -> dict[str, Any]:
        self.loop.run_until_complete(self.identities.authenticate(connection, token, b"1"))
        self.loop.settle()
        return connection.messages[-1]

    def leave(self, connection: Recorder) -> None:
        self.hub.remove(connection)
        self.sweeper.remove(connection)

    def outcomes(self, outcome: str) -> float:
        labels = {"wire": "websocket", "outcome": outcome}
        return sample(self.metrics, "clarion_handshakes_total", **labels)

    async def _admit(self, connection: Recorder, opening: Opening) -> None:
        await self.admission.open(connection, opening)
        if connection.closed_with is not None:
            self.leave(connection)


@pytest.fixture
def door(loop: ClockworkLoop) -> Door:
    return Door(loop)


def welcome_of(connection: Recorder) -> dict[str, Any]:
    assert connection.messages[0]["kind"] == "welcome", connection.messages
    return connection.messages[0]


def test_an_anonymous_client_is_welcomed_at_the_pods_position(door: Door) -> None:
    connection = door.enter()
    assert welcome_of(connection) == {
        "kind": "welcome",
        "connection": connection.id,
        "user": None,
        "pod": "pod-test",
        "id": str(door.delivery.position),
        "resumed": None,
        "expires_in": None,
        "ping_interval": 25,
    }
    assert connection.state is State.LIVE
    assert door.outcomes("accepted") == 1
    assert sample(door.metrics, "clarion_handshake_duration_seconds_count") == 1


def test_a_user_is_told_when_the_token_ends(door: Door) -> None:
    welcome = welcome_of(door.enter(Opening("alice@90", None)))
    assert (welcome["user"], welcome["expires_in"]) == ("alice", 90)
    assert len(door.hub.of_user("alice")) == 1


@pytest.mark.parametrize(
    ("opening", "label", "code"),
    [
        (Opening("forged", None), "unauthenticated", 4401),
        (Opening("x" * 10_000, None), "unauthenticated", 4401),
        (Opening("keyless", None), "unavailable", 1013),
        (Opening("bug", None), "internal_error", 1011),
        (Opening(None, "abc"), "invalid_since", 4400),
        (Opening(None, "-1"), "invalid_since", 4400),
        (Opening(None, "1" * 17), "invalid_since", 4400),
        (Opening(None, "\u0661"), "invalid_since", 4400),
    ],
)
def test_a_refusal_is_a_close_and_an_outcome(
    door: Door, opening: Opening, label: str, code: int
) -> None:
    connection = door.enter(opening)
    assert connection.closed_with is not None
    assert (connection.closed_with.label, connection.closed_with.code) == (label, code)
    assert connection.messages == []
    assert door.outcomes(label) == 1
    assert door.admission.opening == 0
    assert connection not in set(door.hub.connections)


def test_why_a_token_was_refused_is_counted(door: Door) -> None:
    door.enter(Opening("forged", None))
    door.enter(Opening("x" * 10_000, None))
    for reason in ("signature", "claims"):
        assert sample(door.metrics, "clarion_tokens_refused_total", reason=reason) == 1


def test_a_handshake_that_takes_too_long_is_ended(loop: ClockworkLoop) -> None:
    door = Door(loop, handshake_seconds=10)
    door.verifier.gate.clear()
    connection = door.knock(Opening("alice", None))
    loop.advance(9.9)
    assert connection.closed_with is None
    assert door.admission.opening == 1
    loop.advance(0.2)
    assert connection.closed_with is not None
    assert connection.closed_with.label == "unavailable"
    assert door.admission.opening == 0


def test_a_full_pod_takes_nobody_in(loop: ClockworkLoop) -> None:
    """Handshakes in progress count: a burst must not pass the limit together."""
    door = Door(loop, max_connections=3)  # one is there already
    door.verifier.gate.clear()
    first = door.knock(Opening("alice", None))
    assert door.admission.refuse_early() is None
    second = door.knock(Opening("bob", None))
    refused = door.admission.refuse_early()
    assert refused is not None
    assert refused.label == "at_capacity"
    door.verifier.gate.set()
    loop.settle()
    assert first.state is second.state is State.LIVE
    assert door.admission.refuse_early() is not None
    door.leave(first)
    assert door.admission.refuse_early() is None


def test_a_client_that_catches_up_counts_once(loop: ClockworkLoop) -> None:
    """If half of a pod's limit reconnects at once, the pod has room for the other half."""
    door = Door(loop, max_connections=4)
    back = door.enter()
    position = welcome_of(back)["id"]
    door.leave(back)
    door.publish()
    slow = door.knock(Opening(None, position))
    slow.taking.clear()
    loop.settle()
    assert slow.state is State.CATCHING_UP
    door.enter()
    assert len(door.hub) == 3
    assert door.admission.refuse_early() is None


def test_a_draining_pod_takes_nobody_in(door: Door) -> None:
    door.admission.draining = True
    refused = door.admission.refuse_early()
    assert refused is not None
    assert refused.code == 1012


def test_a_client_that_leaves_during_its_handshake_leaves_nothing(door: Door) -> None:
    door.verifier.gate.clear()
    connection = door.knock(Opening("alice", "1"))
    door.loop.settle()
    door.leave(connection)
    door.verifier.gate.set()
    door.loop.settle()
    assert door.outcomes("abandoned") == 1
    assert connection not in set(door.hub.connections)
    assert door.hub.of_user("alice") == ()
    assert door.admission.opening == 0


def test_a_client_that_comes_back_gets_what_it_missed_and_goes_live(door: Door) -> None:
    first = door.enter(Opening("alice", None))
    (seen,) = door.publish()
    door.leave(first)
    missed = [door.publish(to)[0] for to in (ALL, ALICE, AUTHENTICATED)]
    door.publish(Audience("user", "bob"))
    second = door.enter(Opening("alice", str(seen), first.id))
    welcome = welcome_of(second)
    assert (welcome["id"], welcome["resumed"]) == (str(seen), True)
    live = door.publish(ALICE)
    assert second.event_ids == missed + live
    assert sample(door.metrics, "clarion_resumes_total", outcome="resumed") == 1


def test_a_client_whose_history_is_gone_is_told(door: Door) -> None:
    door.publish(ALICE, count=3)
    door.bus.trim("user:alice", 1)
    connection = door.enter(Opening("alice", "1"))
    welcome = welcome_of(connection)
    assert (welcome["id"], welcome["resumed"]) == (str(door.delivery.position), False)
    assert door.publish(ALICE) == connection.event_ids
    assert sample(door.metrics, "clarion_resumes_total", outcome="not_resumed") == 1


def test_a_position_that_nobody_has_given_out_is_not_resumed(door: Door) -> None:
    welcome = welcome_of(door.enter(Opening(None, "9" * 16)))
    assert welcome["resumed"] is False
    assert door.loop.now == 0, "nobody waits for the future"


def test_what_comes_in_while_a_slow_client_catches_up_follows_in_order(door: Door) -> None:
    (seen,) = door.publish()
    missed = door.publish(count=3)
    connection = door.stall(Opening(None, str(seen)))
    meanwhile = door.publish(count=3)
    assert connection.event_ids == missed
    connection.taking.set()
    door.loop.settle()
    assert connection.state is State.LIVE
    live = door.publish()
    assert connection.event_ids == missed + meanwhile + live


def test_a_long_replay_is_written_in_pieces_as_the_client_takes_them(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 300)
    (seen,) = door.publish()
    missed = door.publish(count=50)
    connection = door.stall(Opening(None, str(seen)))
    assert 1 <= len(connection.event_ids) < 10
    connection.taking.set()
    door.loop.settle()
    assert connection.event_ids == missed


def test_a_client_that_takes_nothing_while_it_catches_up_is_a_slow_consumer(door: Door) -> None:
    (seen,) = door.publish()
    door.publish()
    connection = door.knock(Opening(None, str(seen)))
    connection.taking.clear()
    door.loop.advance(29)
    assert connection.closed_with is None
    door.loop.advance(2)
    assert connection.closed_with is not None
    assert connection.closed_with.code == 4408


def test_what_is_held_for_a_slow_client_is_bounded(door: Door) -> None:
    (seen,) = door.publish()
    door.publish()
    connection = door.stall(Opening(None, str(seen)))
    door.publish(count=1_000)
    assert connection.closed_with is None
    door.publish()
    assert connection.closed_with is not None
    assert connection.closed_with.code == 4408


def test_the_bytes_that_are_held_for_a_slow_client_are_bounded(door: Door) -> None:
    (seen,) = door.publish()
    door.publish()
    connection = door.stall(Opening(None, str(seen)))
    for _ in range(7):
        door.bus.publish(Publication(ALL, "tick", b"1" * (1 << 20)))
    door.loop.settle()
    assert connection.closed_with is None
    door.bus.publish(Publication(ALL, "tick", b"1" * (1 << 20)))
    door.loop.settle()
    assert connection.closed_with == close_codes.SLOW_CONSUMER


def miss_much(door: Door) -> int:
    """The position of a client that has missed half a megabyte, which only Redis holds."""
    (seen,) = door.publish()
    for _ in range(700):
        door.bus.publish(Publication(ALL, "tick", b"1" * 700))
    door.loop.settle()
    door.ring.fill(door.delivery.position, [])
    return seen


def test_a_replay_takes_room_until_the_client_has_taken_it(door: Door) -> None:
    seen = miss_much(door)
    connection = door.stall(Opening(None, str(seen)))
    began_bytes = door.room.used_bytes
    assert began_bytes > 500_000
    connection.taking.set()
    door.loop.run(2)
    assert 0 < door.room.used_bytes < began_bytes
    door.loop.settle()
    assert len(connection.event_ids) == 700
    assert door.room.used_bytes == 0


@pytest.mark.parametrize("how", ["stalls", "leaves", "leaves in the handshake"])
def test_a_replay_that_fails_gives_its_room_back(
    door: Door, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = miss_much(door)
    take = door.room.take
    taken = []

    async def took(connection: Recorder, party: Party, cost_bytes: int) -> None:
        await take(connection, party, cost_bytes)
        taken.append(door.room.used_bytes)
        if how == "leaves in the handshake":
            door.leave(connection)

    monkeypatch.setattr(door.room, "take", took)
    connection = door.stall(Opening(None, str(seen)))
    assert taken[0] > 0
    if how == "leaves":
        door.leave(connection)
        connection.taking.set()
    door.loop.advance(31)
    assert door.room.used_bytes == 0


def test_a_client_that_hangs_up_is_read_nothing_more_for(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = miss_much(door)
    read = door.bus.history
    pages = 0

    async def history(*args: Any, **options: Any) -> Any:
        nonlocal pages
        pages += 1
        door.leave(connection)
        return await read(*args, **options)

    monkeypatch.setattr(door.bus, "history", history)
    connection = door.knock(Opening(None, str(seen)))
    door.loop.settle()
    assert pages == 1
    assert door.outcomes("abandoned") == 1


def test_a_client_that_hangs_up_has_nothing_more_encoded_for_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = miss_much(door)
    connection = door.stall(Opening(None, str(seen)))
    encoded: list[Event] = []
    monkeypatch.setattr(NativeFormat, "event", lambda _, event: encoded.append(event) or b"")
    door.leave(connection)
    connection.taking.set()
    door.loop.settle()
    assert encoded == []


def test_one_too_many_to_replay_to_is_not_resumed(door: Door) -> None:
    """A client may fetch its state anew: better than waiting, and being refused in the end."""
    seen = miss_much(door)
    gate = asyncio.Event()
    read = door.bus.history

    async def history(*args: Any, **options: Any) -> Any:
        await gate.wait()
        return await read(*args, **options)

    door.bus.history = history  # type: ignore[method-assign]
    connections = [door.knock(Opening(None, str(seen))) for _ in range(7)]
    door.loop.advance(6)
    assert [bool(each.written) for each in connections] == [False] * 6 + [True]
    assert welcome_of(connections[6])["resumed"] is False
    assert sample(door.metrics, "clarion_resumes_total", outcome="busy") == 1
    gate.set()
    door.loop.settle()
    assert all(welcome_of(each)["resumed"] for each in connections[:6])
    assert connections[6].state is State.LIVE


def tell(connection: Recorder, position: int) -> None:
    assert connection.held is not None
    connection.held.add([Gap(position)])


def test_a_gap_is_told_between_what_came_before_it_and_what_came_after(door: Door) -> None:
    """A client that is lost in between must not resume after a loss that it does not know of."""
    (seen,) = door.publish()
    missed = door.publish()
    connection = door.stall(Opening(None, str(seen)))
    tell(connection, missed[-1])
    meanwhile = door.publish()
    connection.taking.set()
    door.loop.settle()
    assert [message["kind"] for message in connection.messages] == [
        "welcome",
        "event",
        "gap",
        "event",
    ]
    assert [int(message["id"]) for message in connection.messages[1:]] == [
        *missed,
        *missed,
        *meanwhile,
    ]


def test_each_of_two_gaps_is_told_in_its_place(door: Door) -> None:
    (seen,) = door.publish()
    missed = door.publish()
    connection = door.stall(Opening(None, str(seen)))
    tell(connection, missed[-1])
    (between,) = door.publish()
    tell(connection, between)
    (after,) = door.publish()
    connection.taking.set()
    door.loop.settle()
    assert [(message["kind"], int(message["id"])) for message in connection.messages[1:]] == [
        ("event", missed[-1]),
        ("gap", missed[-1]),
        ("event", between),
        ("gap", between),
        ("event", after),
    ]


def test_a_gap_that_lies_behind_what_was_written_does_not_lead_back(door: Door) -> None:
    """A client resumes from the last id that it was told."""
    (seen,) = door.publish()
    missed = door.publish()
    connection = door.stall(Opening(None, str(seen)))
    tell(connection, seen)
    connection.taking.set()
    door.loop.settle()
    assert [message["kind"] for message in connection.messages] == ["welcome", "event", "gap"]
    assert connection.messages[-1]["id"] == str(missed[-1])


def test_a_client_that_has_been_told_elsewhere_is_not_led_back(door: Door) -> None:
    """It comes from a pod that found the loss first, and waits here until this pod has found it."""
    door.publish()
    door.subscriber.cut()
    door.bus.lose_everything()
    since = door.publish()[0]
    connection = door.knock(Opening(None, str(since)))
    told: list[int] = []

    def tell_gap(_: object, position: int) -> None:
        told.append(position)
        tell(connection, position)

    door.subscription._repair._tell_gap = tell_gap
    door.loop.settle()
    assert connection.messages == []
    door.loop.advance(1)
    assert [position < since for position in told] == [True]
    assert welcome_of(connection)["resumed"] is True
    after = door.publish()
    assert [message["id"] for message in connection.messages] == [str(since), str(after[0])]


def test_nothing_that_a_token_holds_reaches_the_client(door: Door) -> None:
    connection = door.enter()
    door.log_in(connection, "forged")
    assert "forged" not in json.dumps(connection.messages)


def test_an_events_own_connection_does_not_get_it_back_when_it_returns(door: Door) -> None:
    first = door.enter(Opening("alice", None))
    position = welcome_of(first)["id"]
    door.leave(first)
    door.bus.publish(Publication(ALL, "chat", b"{}", exclude=first.id))
    door.loop.settle()
    others = door.publish()
    second = door.enter(Opening("alice", position, first.id))
    assert second.event_ids == others


def revoke(door: Door, *orders: Order) -> None:
    door.revocations.hear(b"\n".join(encode_order(order) for order in orders))


ALICES_TOKEN = RevokeToken("id of alice", 1_000)
ALICES_OLD_TOKENS = RevokeUser("alice", 51, 1_000)


@pytest.mark.parametrize("order", [ALICES_TOKEN, ALICES_OLD_TOKENS])
def test_a_revoked_token_is_refused_at_the_handshake(door: Door, order: Order) -> None:
    revoke(door, order)
    refused, other = door.enter(Opening("alice", None)), door.enter(Opening("bob", None))
    assert refused.closed_with == close_codes.REVOKED
    assert other.state is State.LIVE
    assert sample(door.metrics, "clarion_tokens_refused_total", reason="revoked") == 1
    assert door.outcomes("revoked") == 1


def test_a_token_of_the_very_second_of_a_revocation_is_refused_for_the_moment(door: Door) -> None:
    """The token may be old or new. Its client should return with another one."""
    revoke(door, RevokeUser("alice", 50.5, 1_000))
    refused, anonymous = door.enter(Opening("alice", None)), door.enter()
    assert refused.closed_with == close_codes.ISSUED_TOO_SOON
    assert door.outcomes("issued_too_soon") == 1
    assert door.log_in(anonymous, "alice")["code"] == "issued_too_soon"
    assert anonymous.user is None
    assert sample(door.metrics, "clarion_tokens_refused_total", reason="revoked") == 2


def test_a_token_that_is_revoked_during_its_handshake_does_not_slip_through(
    loop: ClockworkLoop,
) -> None:
    """The pod cannot know before it hears from Redis, and nothing closes it before the hub has it."""
    door = Door(loop, begin=False)
    connection = door.knock(Opening("alice", None))
    loop.settle()
    assert connection.closed_with is None
    revoke(door, ALICES_TOKEN)
    door.begin()
    assert connection.closed_with == close_codes.REVOKED
    assert connection not in set(door.hub.connections)


def topic_events(connection: Recorder) -> list[str]:
    events = [message for message in connection.messages if message["kind"] == "event"]
    return [event["topic"] for event in events if event["audience"] == "topic"]


def asking(token: str | None, *topics: str, since: int | None = None) -> Opening:
    return Opening(token, None if since is None else str(since), topics=topics)


class TestTopics:
    def test_a_client_hears_those_of_its_token_and_those_that_it_asks_for_and_may_hear(
        self, door: Door
    ) -> None:
        connection = door.enter(asking("alice+a?b.*", "a", "b.1", "c", "b.1"))
        welcome = welcome_of(connection)
        assert (welcome["topics"], welcome["forbidden"]) == (["a", "b.1"], ["c"])
        assert "not_resumed" not in welcome
        for name in ("a", "b.1", "b.2", "c"):
            door.publish(topic_audience(name))
        assert topic_events(connection) == ["a", "b.1"]
        refused = sample(door.metrics, "clarion_topics_refused_total", reason="forbidden")
        assert refused == 1

    def test_a_client_without_topics_is_told_of_none(self, door: Door) -> None:
        assert "topics" not in welcome_of(door.enter(Opening("alice?a", None)))
        assert welcome_of(door.enter(asking(None, "a")))["forbidden"] == ["a"]

    @pytest.mark.parametrize(
        ("opening", "label"),
        [
            (asking("alice?**", "a.*"), "invalid_topic"),
            (asking("alice", ""), "invalid_topic"),
            (asking("alice", "a", "a b"), "invalid_topic"),
            (asking("alice", *(f"t{number}" for number in range(4))), "too_many_topics"),
            (asking("alice+a+b?c?d", "c", "d"), "too_many_topics"),
            (Opening("alice+a+b+c+d", None), "too_many_topics"),
            (Opening("alice+a.*", None), "unauthenticated"),
            (Opening("alice?a.*b", None), "unauthenticated"),
        ],
    )
    def test_what_is_no_topic_and_too_many_are_refused(
        self, loop: ClockworkLoop, opening: Opening, label: str
    ) -> None:
        door = Door(loop, max_topics_per_connection=3)
        connection = door.enter(opening)
        assert connection.closed_with is not None
        assert connection.closed_with.label == label
        assert "expected" in connection.closed_with.reason
        assert door.outcomes(label) == 1
        assert connection not in door.hub.connections

    def test_a_client_that_resumes_gets_all_its_topics_in_one_sequence(self, door: Door) -> None:
        door.loop.settle()
        since = door.delivery.position
        names = ["a", "b", "c", "a", "b"]
        missed = [door.publish(topic_audience(name))[0] for name in names]
        missed.insert(2, door.publish()[0])
        connection = door.enter(asking("alice+a?b", "b", since=since))
        assert welcome_of(connection)["resumed"] is True
        assert topic_events(connection) == ["a", "b", "a", "b"]
        assert connection.event_ids == sorted(connection.event_ids)
        assert len(connection.event_ids) == 5
        assert connection.event_ids == sorted({*missed} - {missed[3]})

    def test_a_topic_whose_history_does_not_reach_back_is_named_and_the_others_resume(
        self, door: Door
    ) -> None:
        door.loop.settle()
        since = door.delivery.position
        for name in "abab":
            door.publish(topic_audience(name))
        door.bus.trim("topic:b", 1)
        connection = door.enter(asking("alice+a+b", since=since))
        welcome = welcome_of(connection)
        assert (welcome["resumed"], welcome["not_resumed"]) == (True, ["b"])
        assert topic_events(connection) == ["a", "a"]
        door.publish(topic_audience("b"))
        assert topic_events(connection) == ["a", "a", "b"]
        assert sample(door.metrics, "clarion_topics_not_resumed_total") == 1


def test_connections_whose_end_the_application_still_handles_take_room(loop: ClockworkLoop) -> None:
    door = Door(loop, max_connections=5)
    for _ in range(4 - len(door.hub)):
        door.enter()
    unfinished = SimpleNamespace(unfinished=1, mounted=False)
    assert door.admission.refuse_early() is None
    door.admission._hooks = cast("ConnectionHooks", unfinished)
    assert door.admission.refuse_early() == close_codes.AT_CAPACITY
    unfinished.unfinished = 0
    assert door.admission.refuse_early() is None
