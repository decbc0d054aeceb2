"""Who is connected, with which sockets: this pod's socket state.

Pure bookkeeping, no I/O. A connection stands in exactly one group: its wire format's anonymous or
authenticated one, so that a round can write one buffer to a whole group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from clarion_contract.events.audience import Audience
from clarion_gateway.connections.connection import Connection, State
from clarion_gateway.connections.held import Held
from clarion_gateway.connections.identity import Identity
from clarion_gateway.wire.format import WireFormat

# An insertion-ordered set: rounds go through it thousands of times a second.
Members = dict[Connection, None]


@dataclass(frozen=True, slots=True)
class Group:
    """All live connections of one wire format, apart by what they may hear."""

    format: WireFormat
    anonymous: Members = field(default_factory=dict)
    authenticated: Members = field(default_factory=dict)


def _tell_nobody(user: str) -> None:
    """What `Hub.changed` is until somebody wants to know."""


class Hub:
    """Connections by id, by user and by group.

    Attributes:
        changed: called with each user one of whose connections has come or gone.
    """

    def __init__(self) -> None:
        self.changed: Callable[[str], None] = _tell_nobody
        self._by_id: dict[str, Connection] = {}
        self._by_user: dict[str, list[Connection]] = {}
        self._groups: dict[WireFormat, Group] = {}
        self._catching_up: Members = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def connections(self) -> Iterable[Connection]:
        """Every connection, catching up or live."""
        return self._by_id.values()

    @property
    def groups(self) -> Iterable[Group]:
        """The live connections, group by group."""
        return self._groups.values()

    @property
    def catching_up(self) -> Iterable[Connection]:
        """Connections that hold events back until they have what they missed."""
        return self._catching_up

    @property
    def users(self) -> Mapping[str, Sequence[Connection]]:
        """Connections by user."""
        return self._by_user

    @property
    def held(self) -> Mapping[tuple[str, str], int]:
        """Live connections by (wire, identity)."""
        return {
            (group.format.name, identity): len(members)
            for group in self._groups.values()
            for identity, members in (
                ("anonymous", group.anonymous),
                ("authenticated", group.authenticated),
            )
        }

    @property
    def unsent_bytes(self) -> int:
        """Bytes that clients have not taken yet, over all connections."""
        return sum(connection.socket.unsent_bytes for connection in self._by_id.values())

    def add(
        self,
        connection: Connection,
        identity: Identity | None = None,
        *,
        catching_up: bool = False,
    ) -> None:
        """Register a connection under its id, user and group.

        Args:
            identity: for whom it speaks from now on; None: for whom it spoke before.
        """
        if identity is not None:
            connection.identity = identity
        self._by_id[connection.id] = connection
        if connection.user is not None:
            self._by_user.setdefault(connection.user, []).append(connection)
            self.changed(connection.user)
        if catching_up:
            connection.held = Held()
            connection.state = State.CATCHING_UP
            self._catching_up[connection] = None
        else:
            self.go_live(connection)

    def go_live(self, connection: Connection) -> None:
        """Let rounds write to a connection that was added before, unless it is gone again."""
        if connection.id not in self._by_id:
            return
        self._catching_up.pop(connection, None)
        connection.held = None
        connection.state = State.LIVE
        self._members(connection)[connection] = None

    def remove(self, connection: Connection) -> bool:
        """Forget a connection; False when it was not known. Its user stays on it."""
        connection.state = State.CLOSED
        if self._by_id.pop(connection.id, None) is None:
            return False
        self._catching_up.pop(connection, None)
        self._members(connection).pop(connection, None)
        self._leave_user(connection)
        return True

    def identify(self, connection: Connection, identity: Identity) -> None:
        """Move a connection to another identity: one step, between two events."""
        user = identity.user
        if user != connection.user:
            live = self._members(connection).pop(connection, self) is None
            self._leave_user(connection)
            connection.identity = identity
            if user is not None:
                self._by_user.setdefault(user, []).append(connection)
                self.changed(user)
            if live:
                self._members(connection)[connection] = None
        connection.identity = identity

    def find(self, connection_id: str) -> Connection | None:
        """The connection with that id."""
        return self._by_id.get(connection_id)

    def of_user(self, user: str) -> Sequence[Connection]:
        """The user's connections on this pod."""
        return self._by_user.get(user, ())

    def receives(self, connection: Connection, audience: Audience) -> bool:
        """Whether an audience takes the connection in."""
        if audience.kind == "all":
            return True
        if audience.kind == "authenticated":
            return connection.user is not None
        return connection.user == audience.user

    def _members(self, connection: Connection) -> Members:
        wire_format = connection.format
        group = self._groups.get(wire_format)
        if group is None:
            group = self._groups[wire_format] = Group(wire_format)
        return group.anonymous if connection.user is None else group.authenticated

    def _leave_user(self, connection: Connection) -> None:
        if connection.user is None:
            return
        connections = self._by_user[connection.user]
        connections.remove(connection)
        if not connections:
            del self._by_user[connection.user]
        self.changed(connection.user)
