"""The answers of operations on users and tokens. FastAPI writes and documents these classes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

_Pod = Annotated[str, Field(description="The pod's name.", examples=["gateway-0"])]
_Count = Annotated[int, Field(ge=0)]
_GoodFrom = Annotated[
    int,
    Field(
        description="The first whole second, in seconds since 1970, from which on the user's "
        "tokens are accepted. A fresh token whose `iat` was cut to an earlier second is refused "
        "with the old ones.",
        examples=[1_795_494_113],
    ),
]


@dataclass(frozen=True, slots=True)
class OrderReceipt:
    """The result of an order to all gateways."""

    gateways: Annotated[
        int,
        Field(
            ge=0,
            description="Gateway pods that got the order at once. A pod that has lost Redis "
            "carries the order out when it is back.",
            examples=[3],
        ),
    ]


@dataclass(frozen=True, slots=True)
class RevocationReceipt(OrderReceipt):
    """The result of an order to revoke a user's tokens."""

    tokens_good_from: _GoodFrom


@dataclass(frozen=True, slots=True)
class ConnectionsReceipt(OrderReceipt):
    """The result of an order about a user's connections."""

    connections: Annotated[
        _Count | None,
        Field(
            description="The user's connections on all pods, as known to presence when the order "
            "was given. A connection that began in the last moments is concerned too but may not "
            "be counted; one that has just ended may be counted. null: presence did not answer.",
            examples=[2],
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class DisconnectReceipt(ConnectionsReceipt):
    """The result of an order to close a user's connections."""

    tokens_good_from: _GoodFrom | None = None


@dataclass(frozen=True, slots=True)
class UserOnPod:
    """A user's connections to one gateway pod."""

    pod: _Pod
    connections: Annotated[int, Field(ge=1, examples=[2])]
    since: Annotated[
        datetime,
        Field(
            description="When the first of these connections began after a time without any.",
            examples=["2027-01-15T08:00:00Z"],
        ),
    ]


@dataclass(frozen=True, slots=True)
class UserPresence:
    """Whether and where a user is connected."""

    user: Annotated[str, Field(examples=["alice"])]
    connected: Annotated[bool, Field(examples=[True])]
    connections: Annotated[int, Field(ge=0, description="On all pods together.", examples=[2])]
    since: Annotated[
        datetime | None,
        Field(
            description="The earliest `since` of all pods; null: not connected.",
            examples=["2027-01-15T08:00:00Z"],
        ),
    ]
    pods: list[UserOnPod]


@dataclass(frozen=True, slots=True)
class TopicOnPod:
    """A topic's members on one gateway pod."""

    pod: _Pod
    connections: Annotated[int, Field(ge=1, examples=[2])]
    users: _Count


@dataclass(frozen=True, slots=True)
class TopicPresence:
    """The members of a topic."""

    topic: Annotated[str, Field(examples=["room.lobby"])]
    connections: Annotated[
        int,
        Field(ge=0, description="On all pods, those of anonymous clients included.", examples=[3]),
    ]
    users: Annotated[
        int,
        Field(
            ge=0,
            description="Users among them. Without `members`, a user on two pods counts twice.",
            examples=[2],
        ),
    ]
    members: Annotated[
        list[str] | None,
        Field(
            description="These users, in order; null: they are more than the topic's rule names.",
            examples=[["alice", "bob"]],
        ),
    ]
    pods: list[TopicOnPod]


@dataclass(frozen=True, slots=True)
class Position:
    """A position that a client can resume from."""

    id: Annotated[
        str,
        Field(
            description="Events that were published before have lower ids, later ones higher ids.",
            examples=["1732440000000000"],
        ),
    ]


@dataclass(frozen=True, slots=True)
class ConnectionsOnPod:
    """The connections to one gateway pod."""

    pod: _Pod
    connections: _Count
    anonymous: _Count
    authenticated: _Count
    users: Annotated[int, Field(ge=0, description="Users with a connection to the pod.")]
    ready: Annotated[bool, Field(description="Whether the pod takes new clients.")]


@dataclass(frozen=True, slots=True)
class AllConnections:
    """The connections to all gateway pods."""

    connections: _Count
    anonymous: _Count
    authenticated: _Count
    pods: list[ConnectionsOnPod]


@dataclass(frozen=True, slots=True)
class TextStatus:
    """The state of a growing text."""

    stream: Annotated[str, Field(description="The text's name.", examples=["a1"])]
    state: Annotated[
        Literal["writing", "done", "failed", "stopped"] | None,
        Field(description="A producer writes on only while it is `writing`. null: no such text."),
    ]
    reason: Annotated[str, Field(description="Why it failed, in one word; else empty.")] = ""
