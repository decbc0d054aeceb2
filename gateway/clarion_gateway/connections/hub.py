"""Finds the pod's connections by id, by user and by group. No I/O.

Admission adds connections, sessions remove them, and delivery looks up recipients. Membership is
data: a connection has the names of the streams that it hears. A live connection is in exactly one
group: those with the same wire format that hear the same shared streams. So a round can write one
buffer to a whole group, or to those of its members that hear a named stream, such as a user's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from clarion_contract.events.audience import AUTHENTICATED, Audience
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.held import Held
from clarion_gateway.connections.identity import Identity
from clarion_gateway.connections.outbound import Outbound
from clarion_gateway.wire.format import WireFormat

# A set that keeps the order of insertion. Rounds iterate over it thousands of times a second.
Members = dict[Connection, None]


@dataclass(frozen=True, slots=True)
class Group:
    """Live connections of one wire format that hear the same shared streams.

    Attributes:
        streams: names of the streams.
        named: those of the members that hear a stream with a name, such as a user's, by the name
            of the stream.
    """

    format: WireFormat
    streams: tuple[str, ...]
    members: Members = field(default_factory=dict)
    named: dict[str, Members] = field(default_factory=dict)

    @property
    def authenticated_members(self) -> int:
        """The number of members that have logged in."""
        if not self.streams:  # of a namespace, which anonymous clients hear as others do
            return sum(member.user is not None for member in self.members)
        return len(self.members) if AUTHENTICATED.stream in self.streams else 0

    def add(self, connection: Connection) -> None:
        """Let rounds write to a connection."""
        self.members[connection] = None
        for stream in connection.named_streams:
            members = self.named.get(stream)
            if members is None:
                self.named[stream] = {connection: None}
            else:
                members[connection] = None

    def discard(self, connection: Connection) -> bool:
        """Take a connection out; returns whether it was in."""
        if connection not in self.members:
            return False
        del self.members[connection]
        for stream in connection.named_streams:
            members = self.named[stream]
            del members[connection]
            if not members:
                del self.named[stream]
        return True


MembersChanged = Callable[[Connection, Collection[str], Collection[str]], None]


def _tell_nobody(user: str) -> None:
    """Do nothing; the initial value of `Hub.changed`."""


class Hub:
    """Connections by id, by user and by group.

    Attributes:
        changed: called with the user's id whenever a connection of a user has come or gone.
        members_changed: called with a connection, the streams with a name of which it has become a
            member, or is one no more, or as another user, and those of them that it has joined.
        outbound: bounds the memory of what waits for its connections.
    """

    def __init__(self, outbound: Outbound | None = None) -> None:
        """Begin without connections.

        Args:
            outbound: bounds what waits for clients; None: nothing does.
        """
        self.outbound = outbound or Outbound()
        self.changed: Callable[[str], None] = _tell_nobody
        self.members_changed: MembersChanged | None = None
        self._by_id: dict[str, Connection] = {}
        self._by_user: dict[str, list[Connection]] = {}
        self._groups: dict[tuple[WireFormat, tuple[str, ...]], Group] = {}
        self._catching_up: Members = {}
        self.outbound.catching_up = self._catching_up

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def connections(self) -> Iterable[Connection]:
        """All connections, catching up or live."""
        return self._by_id.values()

    @property
    def groups(self) -> Iterable[Group]:
        """The live connections, group by group."""
        return self._groups.values()

    @property
    def catching_up(self) -> Iterable[Connection]:
        """Connections that hold new events back until they have caught up."""
        return self._catching_up

    @property
    def users(self) -> Mapping[str, Sequence[Connection]]:
        """Connections by user."""
        return self._by_user

    @property
    def named_streams(self) -> Collection[str]:
        """The streams with a name that have members, live or catching up."""
        streams = {stream for each in self._catching_up for stream in each.named_streams}
        return streams.union(*(group.named for group in self._groups.values()))

    @property
    def topics(self) -> int:
        """The number of topics that have members."""
        return sum(stream.startswith("topic:") for stream in self.named_streams)

    @property
    def held(self) -> Mapping[tuple[str, str], int]:
        """Live connections by (wire, identity)."""
        counts: Counter[tuple[str, str]] = Counter()
        for group in self._groups.values():
            name, known = group.format.name, group.authenticated_members
            counts[name, "authenticated"] += known
            counts[name, "anonymous"] += len(group.members) - known
        return +counts  # without zeros

    @property
    def unsent_bytes(self) -> int:
        """Bytes that clients have not taken yet, over all connections."""
        return sum(connection.socket.unsent_bytes for connection in self._by_id.values())

    def add(
        self,
        connection: Connection,
        identity: Identity | None = None,
        asked: tuple[Audience, ...] = (),
        *,
        catching_up: bool = False,
    ) -> None:
        """Register a connection under its id, user and group.

        Args:
            identity: the one that the connection gets; None: it keeps the one that it has.
            asked: audiences that it may hear and has asked for.
            catching_up: whether it holds new events back first, until `go_live`.
        """
        if identity is not None:
            connection.identity = identity
        connection.asked = asked
        self._by_id[connection.id] = connection
        self._join(connection)
        self._members_changed(connection, connection.named_streams, connection.named_streams)
        if catching_up:
            connection.held = Held(self.outbound.waiting)
            connection.state = State.CATCHING_UP
            self._catching_up[connection] = None
        else:
            self.go_live(connection)

    def go_live(self, connection: Connection) -> None:
        """Let rounds write to a connection that was added before; nothing if it has gone since."""
        if connection.id not in self._by_id:
            return
        self._end_catching_up(connection)
        connection.state = State.LIVE
        self._group(connection).add(connection)

    def remove(self, connection: Connection) -> bool:
        """Forget a connection; returns whether it was known. It keeps its identity."""
        connection.state = State.CLOSED
        if self._by_id.get(connection.id) is not connection:  # the one that it would recover
            return False
        del self._by_id[connection.id]
        self._end_catching_up(connection)
        self._group(connection).discard(connection)
        self._leave(connection)
        self._members_changed(connection, connection.named_streams, ())
        return True

    def identify(
        self, connection: Connection, identity: Identity, asked: tuple[Audience, ...] = ()
    ) -> None:
        """Give a connection another identity, in one step: no event can come in between.

        Args:
            asked: audiences that it may hear under it and has asked for.
        """
        before = connection.identity
        hears_others = identity.lists != before.lists or asked != connection.asked
        if identity.user != before.user or hears_others:
            live = self._group(connection).discard(connection)
            self._leave(connection)
            left = {*connection.named_streams}
            connection.identity = identity
            connection.asked = asked
            if identity.user != before.user:
                connection.given = ()
            self._join(connection)
            if live:
                self._group(connection).add(connection)
            joined = {*connection.named_streams}
            self._members_changed(connection, left | joined, joined - left)
        connection.identity = identity

    def hear(
        self,
        connection: Connection,
        asked: tuple[Audience, ...],
        given: tuple[Audience, ...] | None = None,
    ) -> None:
        """Let a connection hear other audiences than before, in one step.

        Args:
            asked: all audiences that it has asked for and may hear. Those of its identity are not
                concerned.
            given: all audiences that the application has given it; None: as before.
        """
        live = self._group(connection).discard(connection)
        left = {*connection.named_streams}
        connection.format = connection.format.with_topics or connection.format
        connection.asked = asked
        if given is not None:
            connection.given = given
        self._listen(connection)
        if live:
            self._group(connection).add(connection)
        joined = {*connection.named_streams}
        self._members_changed(connection, left ^ joined, joined - left)

    def find(self, connection_id: str) -> Connection | None:
        """The connection with that id; None: this pod does not have it."""
        return self._by_id.get(connection_id)

    def of_user(self, user: str) -> Sequence[Connection]:
        """The user's connections on this pod."""
        return self._by_user.get(user, ())

    def live_members(self, names: Iterable[str]) -> Members:
        """The live connections with one of these ids, or that hear one of these streams.

        Others are not looked at: a pod has many more.
        """
        found: Members = {}
        for name in names:
            connection = self._by_id.get(name)
            if connection is not None and connection.held is None:
                found[connection] = None
            for group in self._groups.values():
                found.update(group.members if name in group.streams else group.named.get(name, {}))
        return found

    def selected(self, any_of: Iterable[str], none_of: Iterable[str]) -> list[Connection]:
        """The connections with one of these ids or streams, and none of those.

        Args:
            any_of: ids of connections and names of streams, see `Connection.is_one_of`.
            none_of: likewise.
        """
        wanted, unwanted = frozenset(any_of), frozenset(none_of)
        found = self.live_members(wanted)
        found.update((each, None) for each in self._catching_up if each.is_one_of(wanted))
        return [each for each in found if not each.is_one_of(unwanted)]

    def _members_changed(
        self, connection: Connection, changed: Collection[str], joined: Collection[str]
    ) -> None:
        if self.members_changed is not None:
            self.members_changed(connection, changed, joined)

    def _end_catching_up(self, connection: Connection) -> None:
        self._catching_up.pop(connection, None)
        if connection.held is not None:
            connection.held.end()
            connection.held = None

    def _group(self, connection: Connection) -> Group:
        wire_format, streams = connection.format, connection.shared_streams
        group = self._groups.get((wire_format, streams))
        if group is None:
            group = self._groups[wire_format, streams] = Group(wire_format, streams)
        return group

    def _join(self, connection: Connection) -> None:
        """Let the connection hear the streams of its audiences, and note its user."""
        self._listen(connection)
        if connection.user is not None:
            self._by_user.setdefault(connection.user, []).append(connection)
            self.changed(connection.user)

    def _listen(self, connection: Connection) -> None:
        """Let the connection hear the streams of its audiences."""
        audiences = connection.audiences
        connection.hear(
            shared=tuple(audience.stream for audience in audiences if not audience.named),
            named=tuple(audience.stream for audience in audiences if audience.named),
        )

    def _leave(self, connection: Connection) -> None:
        if connection.user is None:
            return
        connections = self._by_user[connection.user]
        connections.remove(connection)
        if not connections:
            del self._by_user[connection.user]
        self.changed(connection.user)
