"""A service's token: where it comes from, and until when it is used."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

# A fresh token is made after this part of a token's life, so that it does not expire on the way.
_RENEW_AT: Final = 0.8
_HEAD: Final = b'{"alg":"HS256","typ":"JWT"}'

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
        present = {name: value for name, value in claims.items() if value is not None}
        signed = _encode(_HEAD) + b"." + _encode(msgspec.json.encode(present))
        signature = hmac.digest(self.secret.encode(), signed, hashlib.sha256)
        return (signed + b"." + _encode(signature)).decode()


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


def _encode(data: bytes) -> bytes:
    """Base64 for URLs, without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
