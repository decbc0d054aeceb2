"""Connection state recovery: a client of Socket.IO comes back to what it missed. No I/O.

The answer to its CONNECT has a ``pid``, and each event ends with an *offset*, which is the event's
id. The client sends both with its next CONNECT. If the answer has the same pid, it has recovered.

A pid names the connection and the position at which it began, and is signed for its user with a key
that all pods share. So any pod can read it, and pods keep nothing for a client that is away.

An offset that ends with a + says that Redis holds the topics of the connection. Clients get their
pid before they ask for topics, and it cannot change afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from clarion_contract.events.event import Event, InvalidPosition, parse_position
from clarion_gateway.wire.format import TopicsHeard, Welcome
from clarion_gateway.wire.parts import Parts
from clarion_gateway.wire.socketio.format import GAP, SocketIoFormat, arguments_of

OFFSET: Final = "$offset"
"""Name of the event that tells a client nothing but its offset."""

_SIGNATURE_BYTES: Final = 15
_HAS_TOPICS: Final = "+"
_PID_MAX_CHARACTERS: Final = 200

_json = msgspec.json.Encoder()


class Recovery:
    """Makes and reads pids.

    Attributes:
        key: shared by all pods; None: not known yet, and nobody can recover.
    """

    def __init__(self) -> None:
        self.key: bytes | None = None

    def pid(self, connection: str, user: str | None, start: int) -> str | None:
        """The pid of a connection; None while there is no key.

        Args:
            start: the position at which the connection began.
        """
        if self.key is None:
            return None
        signed = _json.encode((connection, user, start))
        signature = hmac.digest(self.key, signed, hashlib.sha256)[:_SIGNATURE_BYTES]
        return f"{connection}.{start}.{urlsafe_b64encode(signature).decode()}"

    def read(self, pid: str, user: str | None) -> tuple[str, int] | None:
        """The connection and the position in a pid; None: it is not a pid of that user."""
        if not pid.isascii():
            return None
        connection, _, rest = pid[:_PID_MAX_CHARACTERS].partition(".")
        try:
            start = parse_position(rest.partition(".")[0])
        except InvalidPosition:
            return None
        expected = self.pid(connection, user, start)
        if expected is None or not hmac.compare_digest(expected.encode(), pid.encode()):
            return None
        return connection, start


def read_offset(text: str) -> tuple[int, bool]:
    """The position in an offset, and whether Redis holds topics of the connection.

    >>> read_offset("1700000000000000+")
    (1700000000000000, True)

    Raises:
        InvalidPosition: it is no offset.
    """
    return parse_position(text.removesuffix(_HAS_TOPICS)), text.endswith(_HAS_TOPICS)


class RecoverableFormat(SocketIoFormat):
    """The format of clients that can recover: each event has its offset as one more argument.

    A client takes a string at the end of any event for its offset. So nothing that is no event of
    the bus may end with a string of the application.

    Attributes:
        with_topics: the same format for connections whose topics Redis holds.
    """

    def __init__(
        self,
        name: str,
        frame: Callable[[bytes], bytes],
        recovery: Recovery,
        *,
        has_topics: bool = False,
    ) -> None:
        super().__init__(name, frame)
        self._recovery = recovery
        self._mark = _HAS_TOPICS if has_topics else ""
        self._ending = b',"%d' + self._mark.encode() + b'"'
        self.with_topics = (
            self if has_topics else RecoverableFormat(name, frame, recovery, has_topics=True)
        )

    def welcome(self, welcome: Welcome) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`: the same pid as before says *recovered*."""
        heard = welcome.heard
        whole = welcome.resumed and not (heard is not None and heard.not_resumed)
        pid = welcome.recovers if whole else None
        if pid is None:
            pid = self._recovery.pid(welcome.connection, welcome.user, welcome.position)
        fields = {"sid": welcome.connection, **({"pid": pid} if pid else {})}
        return self._frame(self._connect + _json.encode(fields))

    def event(self, event: Event) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        arguments = arguments_of(event) + self._ending % event.id
        return self._emitted(b"", event.type, arguments.removeprefix(b","))

    def message(self, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. It moves no offset."""
        if parts is None:
            return super().message(type_, _moving_none(data))
        arguments = _moving_none(parts.arguments)
        return super().message(type_, data, Parts(arguments, parts.attachments))

    def gap(self, position: int) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`."""
        arguments = [GAP, {"id": str(position)}, self._offset(position)]
        return self._frame(self._event + _json.encode(arguments))

    def subscribed(
        self, ref: bytes, position: int, heard: TopicsHeard, past: Sequence[Event] | None = None
    ) -> bytes:
        """See `clarion_gateway.wire.format.WireFormat`. From here on, offsets tell of topics."""
        offset = self._frame(self._event + _json.encode([OFFSET, self._offset(position)]))
        return offset + super().subscribed(ref, position, heard, past)

    def _offset(self, position: int) -> str:
        return f"{position}{self._mark}"


def _moving_none(arguments: bytes) -> bytes:
    """Arguments of which the last one is no string."""
    return arguments + b",null" if arguments.rstrip()[-1:] == b'"' else arguments
