"""The JSON of publishing requests and answers, and the bodies of operations on users.

The OpenAPI document is made from these classes. The answers of those operations are in `answers`.
``data`` is `msgspec.Raw`: msgspec checks its syntax, and its bytes reach the clients as the
producer wrote them, including numbers, key order and white space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from clarion_contract.events.audience import USER_ID_MAX_BYTES, shared_audiences
from clarion_contract.events.event import (
    CONNECTION_ID_PATTERN,
    KEY_MAX_CHARACTERS,
    TYPE_PATTERN,
    to_the_end,
)
from clarion_publisher.ingestion.event import EXCLUDE_EXPECTED, KEY_EXPECTED, TYPE_EXPECTED
from clarion_publisher.sources.http.problems import Problem

Key = Annotated[str, Meta(min_length=1, max_length=KEY_MAX_CHARACTERS)]
_SHARED: Final = tuple(audience.kind for audience in shared_audiences())
if TYPE_CHECKING:
    SharedKind = str
else:  # one of the kinds in the table of audiences
    SharedKind = Literal[_SHARED]
ConnectionId = Annotated[str, Meta(pattern=to_the_end(CONNECTION_ID_PATTERN))]


class UserAudience(Struct, frozen=True, forbid_unknown_fields=True):
    """Every connection of one user."""

    user: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=USER_ID_MAX_BYTES,
            description=f"The user's id: 1 to {USER_ID_MAX_BYTES} bytes in UTF-8.",
            examples=["alice"],
        ),
    ]


class NewEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event to publish."""

    audience: Annotated[
        SharedKind | UserAudience,
        Meta(
            description="Who receives the event: every connection, every authenticated one, or "
            "every connection of one user.",
            extra={"expected": ", ".join(f'"{kind}"' for kind in _SHARED) + ' or {"user": "<id>"}'},
        ),
    ]
    type: Annotated[
        str,
        Meta(
            pattern=to_the_end(TYPE_PATTERN),
            description="What happened, such as order.updated.",
            examples=["order.updated"],
            extra={"expected": TYPE_EXPECTED},
        ),
    ]
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
    exclude: Annotated[
        ConnectionId | None,
        Meta(
            description="A connection that must not receive the event: `connection` of its "
            "welcome message.",
            extra={"expected": EXCLUDE_EXPECTED},
        ),
    ] = None


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
    """How to close a user's connections."""

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
