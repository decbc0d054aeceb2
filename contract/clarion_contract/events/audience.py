"""The recipients of an event, and the name of the stream that carries it.

An audience is a kind, and for some kinds a name within it, such as a user's id. Everything that
differs between kinds stands in one table, `KINDS`. A connection holds the names of the streams that
it hears; whether it receives an event is one look-up: ``event.audience.stream in streams``.

Pure values, no I/O. A stream's name is safe inside a Redis key's hash tag whatever a user's id is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote

from clarion_contract.events.naming import InvalidName, Naming
from clarion_contract.events.topic import TOPICS, check_pattern, check_topic, covers

USER_ID_MAX_BYTES: Final = 256

# In addition to letters, digits and "_.-~": common in user ids, no meaning in a Redis hash tag.
_SAFE: Final = "@:+"


class InvalidUserId(InvalidName):
    """A user id that cannot name a stream: empty, too long or not encodable as UTF-8."""


class UnknownKind(ValueError):
    """A kind of audience that the table does not have: nobody may receive its events."""


class Member(Protocol):
    """For whom a connection speaks: what decides which streams it hears."""

    @property
    def user(self) -> str | None:
        """The user; None: an anonymous connection."""
        ...

    @property
    def lists(self) -> Mapping[str, tuple[str, ...]]:
        """Names in the token, by `Kind.claims`; a claim that the token lacks is absent."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table of audiences.

    Attributes:
        name: stands in events, metrics, and at the beginning of a stream's name.
        scope: a service needs it in its token to publish to audiences of the kind.
        joins: the names within the kind whose streams a connection hears; ``("",)`` where the kind
            has one stream, and nothing where the connection hears no stream of the kind.
        naming: there is a stream for each name, such as each user. A pod subscribes to such a
            stream while it has a member, and for a while after; on a cluster its ids come from a
            clock of its own. Producers write ``{"<kind>": "<name>"}``. None: there is one stream,
            every pod is subscribed to it, its recent events are in the ring, and producers write
            ``"<kind>"``.
        claims: lists of names in users' tokens that ``joins`` looks at.
    """

    name: str
    scope: str
    joins: Callable[[Member], Collection[str]]
    naming: Naming | None = None
    claims: tuple[str, ...] = ()


def check_user_id(user: str) -> str:
    """Return ``user`` unchanged when it can name a stream.

    Raises:
        InvalidUserId: empty, longer than 256 bytes of UTF-8, or holding a lone surrogate.
    """
    try:
        size = len(user.encode())
    except UnicodeEncodeError:
        raise InvalidUserId("expected a user id of valid Unicode, got a lone surrogate") from None
    if not 1 <= size <= USER_ID_MAX_BYTES:
        raise InvalidUserId(
            f"expected a user id of 1 to {USER_ID_MAX_BYTES} bytes in UTF-8, got {size} bytes"
        )
    return user


_USER_IDS: Final = Naming(
    check_user_id,
    expected=f"a user's id: 1 to {USER_ID_MAX_BYTES} bytes in UTF-8",
    audience="every connection of one user",
    description=f"The user's id: 1 to {USER_ID_MAX_BYTES} bytes in UTF-8.",
    example="alice",
    max_characters=USER_ID_MAX_BYTES,
)


def _topics_of(member: Member) -> Collection[str]:
    """The topics in a token; a pattern that is none is refused with them, before it is asked for.

    Raises:
        InvalidTopic: the claim ``subscribe`` lists something else than patterns.
    """
    for pattern in member.lists.get("subscribe", ()):
        check_pattern(pattern)
    return member.lists.get("topics", ())


def may_subscribe(member: Member, topic: str) -> bool:
    """Whether a member's token lets its connections hear a topic that they ask for."""
    return topic in member.lists.get("topics", ()) or any(
        covers(pattern, topic) for pattern in member.lists.get("subscribe", ())
    )


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("all", "publish:all", joins=lambda _: ("",)),
        Kind("authenticated", "publish:authenticated", joins=lambda of: ("",) if of.user else ()),
        Kind(
            "user",
            "publish:user",
            joins=lambda of: () if of.user is None else (of.user,),
            naming=_USER_IDS,
        ),
        Kind(
            "topic",
            "publish:topic",
            joins=_topics_of,
            naming=TOPICS,
            claims=("topics", "subscribe"),
        ),
    )
}
"""Every kind of audience, by its name."""


@dataclass(frozen=True, slots=True)
class Audience:
    """The recipients of an event: all connections, all authenticated ones, one user's or a topic's.

    Attributes:
        kind: a name in `KINDS`.
        name: within the kind, such as a user's id or a topic; empty for kinds with one stream.
        named: it is one of many within its kind, see `Kind.naming`.
        shown: see `Naming.shown`.
        stream: ``all``, ``authenticated``, ``user:<encoded id>``, ``topic:<encoded name>``.
            Braces, spaces and everything outside ASCII are percent-encoded (RFC 3986, section 2.1),
            so that no name can break out of its Redis hash tag.

    Raises:
        UnknownKind: the table does not have the kind.
    """

    kind: str
    name: str = ""
    named: bool = field(init=False, repr=False, compare=False)
    shown: bool = field(init=False, repr=False, compare=False)
    stream: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kind = KINDS.get(self.kind)
        if kind is None:
            known = ", ".join(KINDS)
            raise UnknownKind(f"expected a kind of audience out of {known}, got {self.kind[:64]!r}")
        stream = self.kind
        if kind.naming is not None:
            stream += ":" + quote(self.name, safe=_SAFE, errors="surrogatepass")
        object.__setattr__(self, "named", kind.naming is not None)
        object.__setattr__(self, "shown", kind.naming is not None and kind.naming.shown)
        object.__setattr__(self, "stream", stream)

    @property
    def user(self) -> str | None:
        """The user whose connections receive the event; None: it is for others too."""
        return self.name if self.kind == "user" else None


ALL: Final = Audience("all")
AUTHENTICATED: Final = Audience("authenticated")


def user_audience(user: str) -> Audience:
    """The audience of one user, after checking the id with `check_user_id`."""
    return Audience("user", check_user_id(user))


def topic_audience(name: str) -> Audience:
    """The audience of one topic, after checking the name with `check_topic`."""
    return Audience("topic", check_topic(name))


def parse_audience(text: str) -> Audience:
    """The audience that a text names, such as ``all``, ``user:alice`` or ``topic:order.42``.

    Raises:
        UnknownKind: the text has no such form.
        InvalidName: the name behind the colon is none of its kind.
    """
    kind, colon, name = text.partition(":")
    row = KINDS.get(kind)
    if row is None or (row.naming is not None) != bool(colon):
        raise UnknownKind(f"expected {audience_forms()}, got {text[:64]!r}")
    return Audience(kind, name if row.naming is None else row.naming.check(name))


def audience_forms() -> str:
    """The texts that `parse_audience` takes, in words."""
    forms = [k.name if k.naming is None else f"{k.name}:<name>" for k in KINDS.values()]
    return f"{', '.join(forms[:-1])} or {forms[-1]}"


def shared_audiences() -> list[Audience]:
    """The audiences of all kinds that have one stream: every pod listens to them."""
    return [Audience(kind.name) for kind in KINDS.values() if kind.naming is None]


@lru_cache(maxsize=64)
def _shared(kind: str) -> Audience:
    """The only audience of a kind that has one stream: making one costs 3 µs."""
    return Audience(kind)


@lru_cache(maxsize=1_024)
def _named(kind: str, name: str) -> Audience:
    """The audience of a name: a handshake asks twice, when it identifies and when it registers."""
    return Audience(kind, name)


def namings() -> dict[str, Naming]:
    """The rules for names, by kind, of all kinds that have them."""
    return {kind.name: kind.naming for kind in KINDS.values() if kind.naming is not None}


def audiences_of(member: Member) -> list[Audience]:
    """Every audience that takes in the connections of a member.

    Raises:
        InvalidName: a name in the member's token is none.
    """
    return _joined(member) if member.lists else list(_of_user(member.user))


def _joined(member: Member) -> list[Audience]:
    return [
        _shared(kind.name) if kind.naming is None else _named(kind.name, kind.naming.check(name))
        for kind in KINDS.values()
        for name in dict.fromkeys(kind.joins(member))  # a token may list a name twice
    ]


@dataclass(frozen=True, slots=True)
class _Listless:
    """A `Member` whose token lists nothing."""

    user: str | None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@lru_cache(maxsize=1_024)
def _of_user(user: str | None) -> tuple[Audience, ...]:
    """The audiences of nearly every member. A handshake asks for them twice."""
    return tuple(_joined(_Listless(user)))
