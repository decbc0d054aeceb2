"""The places that a verifier takes its keys from: one key of the settings, or an issuer's key set.

`FixedKey` stands here; `clarion_contract.identity.jwks.JwksKeys` is the other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Candidates:
    """The keys that may have signed a token.

    Attributes:
        keys: public keys of `cryptography`; each fits the token's algorithm.
        named: whether the token's key id names them. Otherwise another key may be the right one.
        exist: whether the token's key id names keys at all, perhaps for other algorithms.
    """

    keys: tuple[Any, ...]
    named: bool = False
    exist: bool = False


class KeySource(Protocol):
    """The interface of a verifier's keys.

    Attributes:
        only: the key of every token, whatever key id the token names; None: the id decides.
    """

    @property
    def only(self) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """See the class."""

    def find(self, key_id: str | None, algorithm: str) -> Candidates:
        """The keys that may have signed a token with that key id and algorithm."""

    async def refresh(self) -> None:
        """Return when a fetch that began after this call has brought the current keys.

        Raises:
            KeysUnavailable: no keys can be fetched at the moment.
        """

    async def recheck(self) -> bool:
        """Fetch keys because a signature failed under a known key.

        Returns:
            Whether keys were fetched; False: the known ones are recent, or the issuer is down.
        """


class Keys(KeySource, Protocol):
    """A key source with a background job; a service runs it and closes it."""

    @property
    def known(self) -> bool:
        """Whether there are any keys: without them no token can be accepted or refused."""

    @property
    def failure(self) -> str | None:
        """Why the last fetch brought no keys; None: it succeeded, or none was needed."""

    async def run(self) -> None:
        """Keep the keys fresh; returns at once if that takes no work."""

    async def aclose(self) -> None:
        """Free whatever fetching uses."""


class FixedKey:
    """One key from the settings, used whatever key id a token names."""

    known = True
    failure = None

    def __init__(self, key: Any) -> None:  # noqa: ANN401
        self.only = key

    def find(self, key_id: str | None, algorithm: str) -> Candidates:  # noqa: ARG002
        """The key, always."""
        return Candidates((self.only,), named=True, exist=True)

    async def refresh(self) -> None:
        """Nothing to fetch."""

    async def recheck(self) -> bool:
        """Nothing to fetch."""
        return False

    async def run(self) -> None:
        """Nothing to keep fresh."""

    async def aclose(self) -> None:
        """Nothing to free."""
