"""`clarion_gateway.connections.hub.Hub`: which connections there are, and the group of each."""

from __future__ import annotations

from collections.abc import Collection

from clarion_contract.events.audience import ALL, AUTHENTICATED, Audience, topic_audience
from clarion_contract.events.event import Event
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.identity import ANONYMOUS, Identity
from clarion_gateway.wire.native import PLAIN
from clarion_gateway.wire.sse import SSE
from tests.gateway.recorder import Recorder


def grouped(hub: Hub) -> dict[tuple[str, str], list[Recorder]]:
    """Members of each non-empty group, by wire and identity."""
    groups = {}
    for group in hub.groups:
        if group.members:
            identity = "authenticated" if group.authenticated_members else "anonymous"
            groups[group.format.name, identity] = list(group.members)
    return groups  # type: ignore[return-value]


def test_a_connection_stands_in_one_group_of_its_wire_and_identity() -> None:
    hub = Hub()
    nobody, alice, stream = Recorder(), Recorder("alice"), Recorder("alice", SSE)
    for connection in (nobody, alice, stream):
        hub.add(connection)
    assert grouped(hub) == {
        ("websocket", "anonymous"): [nobody],
        ("websocket", "authenticated"): [alice],
        ("sse", "authenticated"): [stream],
    }
    assert len(hub) == 3
    assert list(hub.connections) == [nobody, alice, stream]
    assert all(connection.state is State.LIVE for connection in hub.connections)


def test_a_users_connections_are_found_until_the_last_one_leaves() -> None:
    hub = Hub()
    first, second = Recorder("alice"), Recorder("alice")
    hub.add(first)
    hub.add(second)
    assert hub.of_user("alice") == [first, second]
    assert hub.remove(first)
    assert hub.of_user("alice") == [second]
    assert hub.remove(second)
    assert hub.of_user("alice") == ()
    assert not hub.users


def test_a_connection_hears_topics_as_they_come_and_go_and_its_user_does_not_change() -> None:
    hub = Hub()
    changed: list[str] = []
    hub.changed = changed.append
    alice = Recorder("alice")
    hub.add(alice)
    changed.clear()
    a, b = topic_audience("a"), topic_audience("b")
    hub.hear(alice, (a, b))
    assert alice.topics == ["a", "b"]
    assert hub.named_streams == {"user:alice", "topic:a", "topic:b"}
    hub.hear(alice, (b,))
    (group,) = (group for group in hub.groups if group.members)
    assert set(group.named) == {"user:alice", "topic:b"}
    assert list(group.members) == [alice]
    assert changed == []
    hub.remove(alice)
    hub.hear(alice, (a,))
    assert hub.named_streams == set()


def test_a_connection_is_removed_once() -> None:
    """Several parts of a socket's end report it; only the first counts."""
    hub = Hub()
    connection = Recorder("alice")
    hub.add(connection)
    assert hub.remove(connection)
    assert not hub.remove(connection)
    assert connection.state is State.CLOSED
    assert connection.user == "alice"
    assert hub.find(connection.id) is None
    assert grouped(hub) == {}


def test_a_stranger_is_not_removed_but_closed() -> None:
    """A refused handshake was never in the hub."""
    hub, stranger = Hub(), Recorder("alice")
    assert not hub.remove(stranger)
    assert stranger.state is State.CLOSED


def test_a_client_that_catches_up_is_registered_but_in_no_group() -> None:
    hub, connection = Hub(), Recorder("alice")
    hub.add(connection, catching_up=True)
    assert connection.state is State.CATCHING_UP
    assert connection.held is not None
    assert len(connection.held) == 0
    assert list(hub.catching_up) == [connection]
    assert hub.of_user("alice") == [connection]
    assert grouped(hub) == {}
    hub.go_live(connection)
    assert connection.state is State.LIVE
    assert connection.held is None
    assert list(hub.catching_up) == []
    assert grouped(hub) == {("websocket", "authenticated"): [connection]}


def test_a_client_that_leaves_while_catching_up_is_forgotten() -> None:
    hub, connection = Hub(), Recorder()
    hub.add(connection, catching_up=True)
    assert hub.remove(connection)
    assert list(hub.catching_up) == []
    assert len(hub) == 0


def test_identify_moves_a_live_connection_between_groups() -> None:
    hub, connection = Hub(), Recorder()
    hub.add(connection)
    hub.identify(connection, Identity("alice", 100.0))
    assert grouped(hub) == {("websocket", "authenticated"): [connection]}
    assert (connection.user, connection.identity.expires_at) == ("alice", 100.0)
    hub.identify(connection, Identity("bob", 200.0))
    assert hub.of_user("alice") == ()
    assert hub.of_user("bob") == [connection]
    hub.identify(connection, ANONYMOUS)
    assert grouped(hub) == {("websocket", "anonymous"): [connection]}
    assert (connection.user, connection.identity.expires_at) == (None, None)
    assert not hub.users


def test_identify_does_not_let_live_who_catches_up() -> None:
    hub, connection = Hub(), Recorder()
    hub.add(connection, catching_up=True)
    hub.identify(connection, Identity("alice"))
    assert grouped(hub) == {}
    hub.go_live(connection)
    assert grouped(hub) == {("websocket", "authenticated"): [connection]}


def test_a_refresh_changes_the_expiry_alone() -> None:
    hub, connection = Hub(), Recorder("alice")
    hub.add(connection)
    hub.identify(connection, Identity("alice", 300.0))
    assert connection.identity.expires_at == 300.0
    assert hub.of_user("alice") == [connection]
    assert grouped(hub) == {("websocket", "authenticated"): [connection]}


def test_audiences() -> None:
    hub, nobody, alice = Hub(), Recorder(), Recorder("alice")
    hub.add(nobody)
    hub.add(alice)
    for connection, audience, receives in (
        (nobody, ALL, True),
        (nobody, AUTHENTICATED, False),
        (nobody, Audience("user", "alice"), False),
        (alice, ALL, True),
        (alice, AUTHENTICATED, True),
        (alice, Audience("user", "alice"), True),
        (alice, Audience("user", "bob"), False),
    ):
        assert connection.receives(Event(2, 1, audience, "t", b"1")) is receives
        assert not connection.receives(Event(2, 1, audience, "t", b"1", connection.id))


def test_a_connection_is_found_by_its_unguessable_id() -> None:
    hub, connection = Hub(), Recorder(wire_format=PLAIN)
    hub.add(connection)
    assert hub.find(connection.id) is connection
    assert len({Recorder().id for _ in range(1000)}) == 1000
    assert len(connection.id) >= 16


def test_each_user_with_changed_connections_is_reported() -> None:
    """Only for users; for both users if one takes a connection over from the other."""
    hub, told = Hub(), list[str]()
    hub.changed = told.append
    connection = Recorder()
    hub.add(connection)
    assert told == []
    hub.identify(connection, Identity("alice", 1.0))
    hub.identify(connection, Identity("alice", 2.0))
    assert told == ["alice"]
    hub.identify(connection, Identity("bob", 2.0))
    assert told == ["alice", "alice", "bob"]
    hub.remove(connection)
    hub.remove(connection)
    assert told == ["alice", "alice", "bob", "bob"]
    hub.add(Recorder("carol"), catching_up=True)
    assert told[4:] == ["carol"]


def test_a_new_token_of_the_same_user_changes_what_its_connection_hears() -> None:
    hub = Hub()
    alice = Recorder("alice")
    hub.add(alice)
    hub.identify(alice, Identity("alice", lists={"topics": ("a",)}))
    assert hub.named_streams == {"user:alice", "topic:a"}
    hub.identify(alice, Identity("alice", lists={"topics": ("a",)}), (topic_audience("b"),))
    assert hub.named_streams == {"user:alice", "topic:a", "topic:b"}


def test_what_the_application_has_given_stays_until_another_user_logs_in() -> None:
    hub = Hub()
    alice, given = Recorder("alice"), (topic_audience("given"),)
    hub.add(alice)
    hub.hear(alice, (), given)
    hub.hear(alice, (topic_audience("a"),))
    hub.identify(alice, Identity("alice", lists={"topics": ("b",)}))
    assert hub.named_streams == {"user:alice", "topic:b", "topic:given"}
    hub.identify(alice, Identity("bob"))
    assert hub.named_streams == {"user:bob"}


def test_changes_of_members_are_reported_by_stream() -> None:
    hub = Hub()
    reports: list[tuple[set[str], set[str]]] = []

    def report(connection: Connection, changed: Collection[str], joined: Collection[str]) -> None:
        assert connection is alice
        reports.append(({*changed}, {*joined}))

    hub.members_changed = report
    alice, a, b = Recorder("alice"), topic_audience("a"), topic_audience("b")
    hub.add(alice, asked=(a,))
    hub.hear(alice, (a, b))
    hub.hear(alice, (b,))
    hub.identify(alice, Identity("alice"), (b,))
    hub.identify(alice, Identity("bob"), (b,))
    hub.remove(alice)
    user, other = "user:alice", "user:bob"
    assert reports == [
        ({user, a.stream}, {user, a.stream}),
        ({b.stream}, {b.stream}),
        ({a.stream}, set()),
        ({user, other, b.stream}, {other}),
        ({other, b.stream}, set()),
    ]


def test_who_would_take_over_an_id_and_ends_before_costs_the_holder_nothing() -> None:
    hub = Hub()
    holder, other = Recorder("alice"), Recorder("alice")
    hub.add(holder)
    other.id = holder.id
    assert not hub.remove(other)
    assert hub.find(holder.id) is holder
    assert list(hub.of_user("alice")) == [holder]


def test_connections_are_selected_by_their_ids_and_by_what_they_hear() -> None:
    hub = Hub()
    a, b = topic_audience("a"), topic_audience("b")
    alice, bob, carol, late = (Recorder(name) for name in ("alice", "bob", "carol", "late"))
    hub.add(alice, asked=(a,))
    hub.add(bob, asked=(a, b))
    hub.add(carol)
    hub.add(late, asked=(a,), catching_up=True)
    assert {*hub.selected((a.stream, a.stream), ())} == {alice, bob, late}
    assert {*hub.selected((a.stream, carol.id, "stranger"), (b.stream, late.id))} == {alice, carol}
    assert {*hub.selected((late.id,), ())} == {late}
    assert len(hub.selected((ALL.stream, a.stream, bob.id), ())) == 4
    assert hub.selected((), ()) == []
    assert {*hub.live_members((a.stream, late.id, carol.id))} == {alice, bob, carol}
