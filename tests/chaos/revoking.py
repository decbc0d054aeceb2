"""The tokens of clients, and orders against them: which tokens are revoked, from when on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import jwt

from tests.chaos.moments import now_us
from tests.cli.clarion import SECRET

_TOKEN_SECONDS = 3_600

ROOMS = [f"room.{number}" for number in range(8)]
"""Topics that every user may ask for."""
TEAMS = [f"team.{number}" for number in range(3)]
"""Topics that tokens list: each user is in one team."""
GIFTS = [f"gift.{number}" for number in range(2)]
"""Topics that only an order gives to connections."""


@dataclass(frozen=True)
class Token:
    """A user's token."""

    user: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    issued_us: int = field(default_factory=now_us)

    @property
    def signed(self) -> str:
        issued = self.issued_us / 1e6
        claims = {
            "sub": self.user,
            "jti": self.id,
            "iat": issued,
            "exp": issued + _TOKEN_SECONDS,
            "topics": [team_of(self.user)],
            "subscribe": ["room.*"],
        }
        return jwt.encode(claims, SECRET, "HS256")


def team_of(user: str) -> str:
    """The topic that a user's tokens list."""
    return TEAMS[sum(user.encode()) % len(TEAMS)]


@dataclass(eq=False)
class Order:
    """An order to all gateways, given to a publisher.

    Attributes:
        user: the user that the order concerns.
        token_id: the one token that is revoked; None: another kind of order.
        disconnects: the user's connections are closed, and no token is revoked.
        issued_before_us: otherwise, tokens of the user that were issued earlier are revoked.
        asked_us: when it was first sent to a publisher.
        confirmed_us: when a publisher answered 200; None: none has, yet.
    """

    user: str
    token_id: str | None = None
    disconnects: bool = False
    issued_before_us: int = 0
    asked_us: int = field(default_factory=now_us)
    confirmed_us: int | None = None

    @property
    def path(self) -> str:
        if self.token_id is not None:
            return f"/v1/tokens/{self.token_id}/revoke"
        return f"/v1/users/{self.user}/{'disconnect' if self.disconnects else 'revoke'}"

    @property
    def body(self) -> dict[str, object]:
        if self.token_id is not None or self.disconnects:
            return {}
        return {"issued_before": self.issued_before_us / 1e6}

    def revokes(self, token: Token) -> bool:
        """Whether the order revokes a token."""
        if self.disconnects:
            return False
        if self.token_id is not None:
            return token.id == self.token_id
        return token.user == self.user and token.issued_us < self.issued_before_us

    def closes(self, token: Token) -> bool:
        """Whether the order closes a connection with that token."""
        return self.revokes(token) or (self.disconnects and token.user == self.user)
