"""The interface of a wire format: what it must be able to encode and to decode. No I/O.

Delivery and admission encode with it what goes to a client; sessions decode with it what a client
sends. Formats do not know one another. To add one:

1. Write a `WireFormat` in a file of its own in this package.
2. Add a row to `clarion_gateway.transports.routes.ROUTES`: under a path, or under a subprotocol of
   a WebSocket path.

Nothing else in the gateway names a format. All connections that speak a format share one object,
and a round encodes each event once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec

from clarion_contract.events.event import Event
from clarion_contract.events.topic_members import TopicMembers
from clarion_gateway.wire.messages import Answer, ClientMessage
from clarion_gateway.wire.parts import Parts

MAIN: Final = "/"
"""The namespace that every client has; formats without namespaces have no other."""

Owner = TypeVar("Owner")


def by_namespace(main: Owner, others: Mapping[str, Owner]) -> dict[str, Owner]:
    """The owners of functions for each namespace, by its name."""
    return {MAIN: main, **others}


class RefusedTopic(msgspec.Struct, frozen=True, gc=False):
    """A topic that the application refuses to a client.

    Attributes:
        topic: its name.
        code: for the client's program.
        message: for people.
    """

    topic: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TopicsHeard:
    """The topics of a connection, by what the gateway does with each.

    Attributes:
        topics: those that it receives.
        forbidden: those that it asked for and may not receive.
        refused: those that it asked for and the application refuses, each with the reason.
        not_resumed: those of ``topics`` of which events since the client's position are lost; it
            receives them from here on.
    """

    topics: Sequence[str]
    forbidden: Sequence[str] = ()
    not_resumed: Sequence[str] = ()
    refused: Sequence[RefusedTopic] = ()

    @property
    def fields(self) -> dict[str, Sequence[object]]:
        """For a message; empty lists are left out, but for ``topics``."""
        lists: dict[str, Sequence[object]] = {
            "forbidden": self.forbidden,
            "refused": self.refused,
            "not_resumed": self.not_resumed,
        }
        return {"topics": self.topics} | {name: names for name, names in lists.items() if names}


@dataclass(frozen=True, slots=True)
class PresenceTold:
    """The news to clients about the members of a topic.

    Attributes:
        connections: of all members, on all pods.
        users: the number of users among them.
        whole: whether it tells everything, or only what has changed.
        members: if it is whole, all of these users; None: they are too many to be named.
        joined: users who have become members since the message before.
        left: users who are members no more.
    """

    topic: str
    connections: int
    users: int
    whole: bool = False
    members: Sequence[str] | None = None
    joined: Sequence[str] = ()
    left: Sequence[str] = ()

    @classmethod
    def everything(cls, topic: str, now: TopicMembers) -> PresenceTold:
        """For a client that knows nothing yet."""
        return cls(topic, now.connections, now.users, True, now.members)

    @classmethod
    def between(
        cls, topic: str, before: TopicMembers | None, now: TopicMembers
    ) -> PresenceTold | None:
        """The change, for clients that know the state before; None: there is none."""
        if before == now:
            return None
        if before is None or before.members is None or now.members is None:
            return cls.everything(topic, now)
        joined = [user for user in now.members if user not in before.members]
        left = [user for user in before.members if user not in now.members]
        return cls(topic, now.connections, now.users, joined=joined, left=left)

    @property
    def fields(self) -> dict[str, Any]:
        """For a message. Only one that is whole has ``members``."""
        fields: dict[str, Any] = {
            "topic": self.topic,
            "users": self.users,
            "connections": self.connections,
        }
        if self.whole:
            fields["members"] = self.members
        if self.joined:
            fields["joined"] = self.joined
        if self.left:
            fields["left"] = self.left
        return fields


class Welcome(msgspec.Struct, frozen=True):
    """The first message to a client.

    Attributes:
        connection: id of the connection.
        user: the user whom the client speaks for; None if it is anonymous.
        pod: name of the gateway pod.
        position: id from which the client can resume.
        resumed: whether everything since the client's position follows; None: it named none.
        expires_in: seconds until the token ends; None if there is no token.
        ping_interval: seconds between two pings (`WireFormat.visible_ping`).
        heard: its topics; None if it has none and asked for none.
        recovers: what the client asked to recover by, if it may; see `wire.socketio.recovery`.
        takes_posts: whether clients of event streams may send messages by POST.
    """

    connection: str
    user: str | None
    pod: str
    position: int
    resumed: bool | None
    expires_in: int | None
    ping_interval: int
    heard: TopicsHeard | None = None
    recovers: str | None = None
    takes_posts: bool = False


class WireFormat(Protocol):
    """Encodes and decodes for one wire format.

    Its methods return whole messages, ready for a socket. They return ``b""`` for a message that
    the format does not have.
    """

    @property
    def name(self) -> str:
        """Name of the format: the metric label ``wire``."""
        ...

    @property
    def namespace(self) -> str:
        """The part of the application that its clients speak to, such as ``/admin``."""
        ...

    @property
    def carries_parts(self) -> bool:
        """Whether it sends several arguments and bytes as such; else it is given no `Parts`."""
        ...

    @property
    def with_topics(self) -> WireFormat | None:
        """The format of a connection from the first change of its topics on.

        None: the topics that such connections ask for end with them. Else Redis keeps them, and
        the client has them again when it recovers (`clarion_gateway.clients.remembered_topics`).
        """
        ...

    @property
    def visible_ping(self) -> bytes:
        """A message that the client's program sees, and that moves no position.

        A client that hears nothing for two intervals knows that its connection is dead. Pages do
        not see a WebSocket's own pings.
        """
        ...

    @property
    def ping(self) -> bytes:
        """`visible_ping`, with what makes the client answer if the format can ask for an answer."""
        ...

    def decode(self, message: bytes) -> ClientMessage | Answer:
        """Decode a message from a client.

        Args:
            message: one whole message, without the transport's frames; valid UTF-8.

        Raises:
            Malformed: the message is not of this format.
        """
        ...

    def event(self, event: Event) -> bytes:
        """Encode an event."""
        ...

    def welcome(self, welcome: Welcome) -> bytes:
        """Encode the first message; see `Welcome`."""
        ...

    def reply(self, ref: bytes, data: bytes, parts: Parts | None = None) -> bytes:
        """Encode a handler's reply.

        Args:
            ref: of the message that it answers.
            data: JSON.
            parts: the same with its bytes; None: it has none.
        """
        ...

    def message(self, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        """Encode a message of the application to this connection only.

        Args:
            data: JSON.
            parts: the same as several arguments, or with bytes; None: it is one without any.
        """
        ...

    def ask(self, ref: bytes, type_: str, data: bytes, parts: Parts | None = None) -> bytes:
        """Encode a question of the application.

        Args:
            ref: the digits by which the client's answer is found.
            data: JSON.
            parts: see `message`.
        """
        ...

    def error(self, ref: bytes | None, code: str, message: str) -> bytes:
        """Tell the client what was wrong with its message.

        Args:
            ref: of that message; None if it could not be read.
            code: one of docs/errors.md, or the application's own.
            message: what was expected, for people.
        """
        ...

    def gap(self, position: int) -> bytes:
        """Tell the client that events at or below ``position`` may be missing."""
        ...

    def identity(
        self,
        ref: bytes | None,
        user: str | None,
        expires_in: int | None,
        heard: TopicsHeard | None = None,
    ) -> bytes:
        """Tell the client that its connection speaks for ``user`` from here on.

        Args:
            ref: of the message that asked for it.
            user: None if the connection is anonymous now.
            expires_in: seconds until the token ends; None if there is no token.
            heard: its topics from here on; None if it has none and had none.
        """
        ...

    def subscribed(
        self,
        ref: bytes,
        position: int,
        heard: TopicsHeard,
        past: Sequence[Event] | None = None,
    ) -> bytes:
        """Tell the client which topics it receives from here on.

        Args:
            ref: of the message that asked for them; `NO_REF`: the application has subscribed it.
            position: the client's new one. It has received everything up to here.
            heard: the topics of that message, or those given.
            past: events of these topics up to the position; None: the client asked for none.
        """
        ...

    def unsubscribed(self, ref: bytes, topics: Sequence[str], kept: Sequence[str]) -> bytes:
        """Tell the client which topics it does not receive from here on.

        Args:
            ref: of the message that gave them up; `NO_REF`: the application has unsubscribed it.
            kept: those of that message that it still receives, since its token says so.
        """
        ...

    def presence(self, told: PresenceTold) -> bytes:
        """Tell the client who else receives one of its topics; see `PresenceTold`."""
        ...

    def reconnect(self, after_ms: int, reason: str) -> bytes:
        """Tell the client that its connection is about to close and when to come back.

        Args:
            after_ms: milliseconds to wait before connecting again.
            reason: label of the close.
        """
        ...

    def closing(self, label: str, reason: str) -> bytes:
        """Tell the client why the connection closes, if no close frame of the transport does."""
        ...


@dataclass(frozen=True, slots=True)
class Framed:
    """A format in the two framings that a WebSocket may have.

    Attributes:
        plain: for clients without compression.
        deflated: for clients that have agreed on compression; None: they get ``plain`` too.
    """

    plain: WireFormat
    deflated: WireFormat | None = None


Formats = Mapping[str | None, Framed]
"""Formats by WebSocket subprotocol, the preferred one first; None: the client offers none."""


def default_of(formats: Formats) -> WireFormat:
    """The format of a client that has not agreed on any."""
    return (formats.get(None) or next(iter(formats.values()))).plain


def event_object(event: Event) -> bytes:
    """An event as the JSON object that native clients get."""
    audience = event.audience
    shown = f'"{audience.kind}":"{audience.name}",' if audience.shown else ""
    head = (
        f'{{"kind":"event","id":"{event.id}","audience":"{audience.kind}",{shown}'
        f'"type":"{event.type}","time":"{event.time}","data":'
    )
    return b"%b%b}" % (head.encode(), event.data)


def past_fields(past: Sequence[Event] | None) -> dict[str, list[msgspec.Raw]]:
    """The field with the past of topics; none if the client does not get any."""
    return {} if past is None else {"events": [msgspec.Raw(event_object(each)) for each in past]}
