"""What operations on users and tokens answer. FastAPI writes and documents these classes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

_Pod = Annotated[str, Field(description="The pod's name.", examples=["gateway-0"])]
_Count = Annotated[int, Field(ge=0)]
_GoodFrom = Annotated[
    int,
    Field(
        description="Where a user's tokens were revoked: the first whole second, since 1970, whose "
        "tokens are good. A fresh token whose `iat` was cut to an earlier second is refused with "
        "the old ones.",
        examples=[1_795_494_113],
    ),
]


@dataclass(frozen=True, slots=True)
class OrderReceipt:
    """What became of an order to all gateways."""

    gateways: Annotated[
        int,
        Field(
            ge=0,
            description="Gateway pods that were told at once. A pod that has lost Redis carries "
            "the order out when it comes back.",
            examples=[3],
        ),
    ]


@dataclass(frozen=True, slots=True)
class RevocationReceipt(OrderReceipt):
    """What became of an order to revoke a user's tokens."""

    tokens_good_from: _GoodFrom


@dataclass(frozen=True, slots=True)
class DisconnectReceipt(OrderReceipt):
    """What became of an order to close a user's connections."""

    connections: Annotated[
        _Count | None,
        Field(
            description="Connections of the user, on all pods, that presence knew when the order "
            "was given. A connection of the last moments may be missing and is closed all the "
            "same; one that has just ended may be counted. null: presence did not answer.",
            examples=[2],
        ),
    ] = None
    tokens_good_from: _GoodFrom | None = None


@dataclass(frozen=True, slots=True)
class UserOnPod:
    """A user's connections to one gateway pod."""

    pod: _Pod
    connections: Annotated[int, Field(ge=1, examples=[2])]
    since: Annotated[
        datetime,
        Field(
            description="When the first of them came after a time without any.",
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
            description="The earliest of the pods'; null: not connected.",
            examples=["2027-01-15T08:00:00Z"],
        ),
    ]
    pods: list[UserOnPod]


@dataclass(frozen=True, slots=True)
class ConnectionsOnPod:
    """What one gateway pod holds."""

    pod: _Pod
    connections: _Count
    anonymous: _Count
    authenticated: _Count
    users: Annotated[int, Field(ge=0, description="Users with a connection to the pod.")]
    ready: Annotated[bool, Field(description="Whether the pod takes new clients.")]


@dataclass(frozen=True, slots=True)
class AllConnections:
    """What all gateway pods hold."""

    connections: _Count
    anonymous: _Count
    authenticated: _Count
    pods: list[ConnectionsOnPod]
