"""The JSON of publishing requests and answers, and the bodies of operations on users.

The OpenAPI document is made from these classes. The answers of those operations are in `answers`.
``data`` is `msgspec.Raw`: msgspec checks its syntax, and its bytes reach the clients as the
producer wrote them, including numbers, key order and white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from clarion_contract.events.audience import Audience, namings, shared_audiences
from clarion_contract.events.event import (
    CONNECTION_ID_PATTERN,
    KEY_MAX_CHARACTERS,
    TYPE_PATTERN,
    to_the_end,
)
from clarion_contract.events.naming import Naming
from clarion_contract.events.topic import TOPIC_MAX_CHARACTERS, TOPIC_REGEX, TOPICS
from clarion_contract.texts.piece import REASON_PATTERN
from clarion_publisher.ingestion.event import EXCLUDE_EXPECTED, KEY_EXPECTED, TYPE_EXPECTED
from clarion_publisher.sources.http.problems import Problem

Key = Annotated[str, Meta(min_length=1, max_length=KEY_MAX_CHARACTERS)]
_NAMINGS: Final = namings()
_SHARED: Final = {audience.kind: audience for audience in shared_audiences()}
ConnectionId = Annotated[str, Meta(pattern=to_the_end(CONNECTION_ID_PATTERN))]


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _quoted(word: str) -> str:
    return f'"{word}"'


def _check_one_kind(named: Struct) -> None:
    if sum(getattr(named, kind) is not UNSET for kind in _NAMINGS) != 1:
        raise ValueError("expected one kind of audience")


def _name(naming: Naming) -> object:
    pattern = None if naming.pattern is None else to_the_end(naming.pattern)
    limits = Meta(min_length=1, max_length=naming.max_characters, pattern=pattern)
    described = Meta(
        description=naming.description,
        examples=[naming.example],
        extra={"expected": naming.expected},
    )
    return Annotated[Annotated[str, limits] | UnsetType, described]


# The kinds of audiences stand in a table, so these classes are made from it.
if TYPE_CHECKING:
    SharedKind = str

    class NamedAudience(Struct):
        """One audience out of many of its kind."""
else:
    SharedKind = Literal[tuple(_SHARED)]
    NamedAudience = msgspec.defstruct(
        "NamedAudience",
        [(kind, _name(naming), UNSET) for kind, naming in _NAMINGS.items()],
        namespace={"__post_init__": _check_one_kind},
        module=__name__,
        frozen=True,
        forbid_unknown_fields=True,
    )


def audience_of(wanted: str | NamedAudience) -> Audience:
    """The audience that a producer's JSON names; `Admission` checks a name."""
    if isinstance(wanted, str):
        return _SHARED[wanted]
    kind = next(kind for kind in _NAMINGS if getattr(wanted, kind) is not UNSET)
    return Audience(kind, getattr(wanted, kind))


_RECIPIENTS: Final = (
    "every connection",
    "every authenticated one",
    *(naming.audience for naming in _NAMINGS.values()),
)


EventType = Annotated[
    str,
    Meta(
        pattern=to_the_end(TYPE_PATTERN),
        description="What happened, such as order.updated.",
        examples=["order.updated"],
        extra={"expected": TYPE_EXPECTED},
    ),
]
Excluded = Annotated[
    ConnectionId | None,
    Meta(
        description="A connection that must not receive the event: `connection` of its welcome "
        "message.",
        extra={"expected": EXCLUDE_EXPECTED},
    ),
]


class NewEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event to publish."""

    audience: Annotated[
        SharedKind | NamedAudience,
        Meta(
            description=f"Who receives the event: {_listed(_RECIPIENTS)}.",
            extra={
                "expected": _listed(
                    [*map(_quoted, _SHARED), *(f'{{"{kind}": "<name>"}}' for kind in _NAMINGS)]
                )
            },
        ),
    ]
    type: EventType
    data: Annotated[
        Raw,
        Meta(
            description="Any JSON. Reaches the clients byte for byte.", extra={"expected": "JSON"}
        ),
    ]
    key: Annotated[
        Key | None,
        Meta(
            description="Idempotency key, unique to this caller and audience: a second event with "
            "the same key is not published. The Idempotency-Key header means the same.",
            extra={"expected": KEY_EXPECTED},
        ),
    ] = None
    exclude: Excluded = None
    history: Annotated[
        bool,
        Meta(
            description="Whether clients that come back later get the event. false: only clients "
            "that are connected now get it, such as for cursors or typing.",
            extra={"expected": "true or false"},
        ),
    ] = True


class NewEvents(Struct, frozen=True, forbid_unknown_fields=True):
    """Events to publish, in this order."""

    events: list[NewEvent]


class Receipt(Struct, frozen=True):
    """The result for one event."""

    id: Annotated[
        str,
        Meta(
            description="The event's id, as its recipients see it. For a duplicate: the id of the "
            "first event with the same key.",
            examples=["1732440000000000"],
        ),
    ]
    duplicate: Annotated[
        bool, Meta(description="Whether an event with the same key was published before.")
    ]
    gateways: Annotated[
        int, Meta(ge=0, description="Gateway pods to which Redis passed the event on.")
    ]


class BatchResult(Struct, frozen=True, omit_defaults=True):
    """The result for one event of a batch: a receipt's fields, or a problem."""

    status: Annotated[int, Meta(description="The status that the event would have got on its own.")]
    id: Annotated[str | UnsetType, Meta(description="See Receipt.")] = UNSET
    duplicate: Annotated[bool | UnsetType, Meta(description="See Receipt.")] = UNSET
    gateways: Annotated[int | UnsetType, Meta(description="See Receipt.")] = UNSET
    problem: Problem | UnsetType = UNSET


class BatchReceipt(Struct, frozen=True):
    """The results for a batch: one for each event, in the same order."""

    results: list[BatchResult]


_SECONDS_MAX: Final = 253_402_300_799  # the last second of the year 9999
Seconds = Annotated[float, Meta(ge=0, le=_SECONDS_MAX)]

REASON_MAX_CHARACTERS: Final = 123


class DisconnectUser(Struct, frozen=True, forbid_unknown_fields=True):
    """An order to close a user's connections."""

    reason: Annotated[
        Annotated[str, Meta(max_length=REASON_MAX_CHARACTERS)] | None,
        Meta(
            description="Reason shown to the user's clients, cut to 123 bytes in UTF-8.",
            examples=["your plan has changed"],
            extra={"expected": f"a string of at most {REASON_MAX_CHARACTERS} characters"},
        ),
    ] = None
    reconnect: Annotated[
        bool,
        Meta(
            description="Whether the clients may come back by themselves: close code 4409 if so, "
            "4403 if not.",
            extra={"expected": "true or false"},
        ),
    ] = True
    revoke: Annotated[
        bool,
        Meta(
            description="Also revoke all tokens of the user that were issued before now.",
            extra={"expected": "true or false"},
        ),
    ] = False


TOPICS_MAX: Final = 100
"""So many topics in one order."""

_TopicNames = Annotated[
    tuple[
        Annotated[
            str,
            Meta(min_length=1, max_length=TOPIC_MAX_CHARACTERS, pattern=to_the_end(TOPIC_REGEX)),
        ],
        ...,
    ],
    Meta(max_length=TOPICS_MAX),
]
_TOPICS_EXPECTED: Final = {
    "expected": f"a list of at most {TOPICS_MAX} topics, no patterns",
    "each": TOPICS.expected,
}


class ChangeTopics(Struct, frozen=True, forbid_unknown_fields=True):
    """The topics that a user's live connections begin to receive, and those that they give up."""

    add: Annotated[
        _TopicNames,
        Meta(
            description="Topics that the connections receive from now on, whatever their tokens "
            "say. A connection that is full does not get them.",
            examples=[["order.42"]],
            extra=_TOPICS_EXPECTED,
        ),
    ] = ()
    remove: Annotated[
        _TopicNames,
        Meta(
            description="Topics that the connections receive no more, unless their tokens list "
            "them.",
            examples=[["order.7"]],
            extra=_TOPICS_EXPECTED,
        ),
    ] = ()


class RevokeUser(Struct, frozen=True, forbid_unknown_fields=True):
    """The tokens of a user to revoke."""

    issued_before: Annotated[
        Seconds | None,
        Meta(
            description="Seconds since 1970. Tokens with an earlier `iat`, and tokens without an "
            "`iat`, are revoked. Default: now.",
            extra={"expected": "seconds since 1970"},
        ),
    ] = None


class RevokeToken(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long to revoke a token."""

    expires_at: Annotated[
        Seconds | None,
        Meta(
            description="The token's `exp`, in seconds since 1970; after it, the revocation is "
            "forgotten. Default: CLARION_TOKEN_MAX_SECONDS from now.",
            extra={"expected": "seconds since 1970"},
        ),
    ] = None


class WritePiece(Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a growing text. Without a number: the news that its producer lives."""

    seq: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="The piece's number: 1 begins the text, and each further piece has the "
            "next one. A piece that is sent again with its number changes nothing. 0: no piece.",
            examples=[1],
            extra={"expected": "a number from 0"},
        ),
    ] = 0
    text: Annotated[
        str,
        Meta(
            description="The text to append.",
            examples=["Hello"],
            extra={"expected": "a string"},
        ),
    ] = ""
    state: Annotated[
        Literal["writing", "done", "failed"],
        Meta(
            description="The text's state from this piece on.",
            extra={"expected": "writing, done or failed"},
        ),
    ] = "writing"
    reason: Annotated[
        str,
        Meta(
            pattern=to_the_end(REASON_PATTERN),
            description="Why it failed: one word, for the clients' program.",
            examples=["model_overloaded"],
            extra={"expected": "one word of a to z, 0 to 9 and _"},
        ),
    ] = ""
    type: Annotated[
        str,
        Meta(
            pattern=to_the_end(TYPE_PATTERN),
            description="The type of the text's events; the first piece decides.",
            examples=["answer"],
            extra={"expected": TYPE_EXPECTED},
        ),
    ] = "text"
