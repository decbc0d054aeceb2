"""A service's token: where it comes from, and until when it is used."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from clarion.signing import sign_hs256

# A fresh token is made after this part of a token's life, so that it does not expire on the way.
_RENEW_AT: Final = 0.8

TokenSource = str | Callable[[], str] | Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class ServiceToken:
    """Makes a service's tokens from the secret that the publisher is configured with (HS256).

    Where an identity provider makes them, pass a function that returns one instead.

    Attributes:
        secret: `CLARION_JWT_SECRET`, 32 bytes or more.
        service: the service's name: the claim ``sub``.
        scopes: what it may do, such as ``publish:all`` or ``publish:topic:order.*``.
        audience: the claim ``aud``; None: none.
        issuer: the claim ``iss``; None: none.
        seconds: how long each token is valid.

    Example: ``ServiceToken(os.environ["CLARION_JWT_SECRET"], "shop", scopes=["publish:user"])``.
    """

    secret: str = field(repr=False)
    service: str
    scopes: Sequence[str]
    audience: str | None = None
    issuer: str | None = None
    seconds: int = 3600

    def __call__(self) -> str:
        """A fresh token (RFC 7519)."""
        now = time.time()
        claims = {
            "sub": self.service,
            "scope": " ".join(self.scopes),
            "aud": self.audience,
            "iss": self.issuer,
            "iat": now,
            "exp": int(now) + self.seconds,
        }
        return sign_hs256(claims, self.secret)


class KeptToken:
    """The token in use, and when to ask for another one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._token: str | None = None
        self._until = 0.0

    def current(self) -> str | None:
        """The token, while it is good; None: ask for another one."""
        return self._token if self._clock() < self._until else None

    def keep(self, token: str) -> None:
        """Use a token for most of its life; one that does not say how long, for one request."""
        now = self._clock()
        self._token = token
        self._until = now + (_expiry(token) - now) * _RENEW_AT

    def drop(self) -> None:
        """Forget the token: the publisher refused it."""
        self._until = 0.0


def _expiry(token: str) -> float:
    """The claim ``exp``; 0 if the token does not have it."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error, msgspec.DecodeError):
        return 0.0
