"""Keys that an issuer publishes at a JWKS URL (RFC 7517), cached and rotated.

Fetched when a token names an unknown key, and again in the background as they grow old: an issuer
that is down for a while costs nobody a connection. Parsing stays off the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import jwt
from anyio import to_thread

from clarion_contract.events.errors import KeysUnavailable

FETCH_TIMEOUT_SECONDS: Final = 5.0
# A storm of tokens with made-up key ids costs the issuer one request per interval, not one each.
MIN_INTERVAL_SECONDS: Final = 10.0
REFRESH_INTERVAL_SECONDS: Final = 300.0


class JwksKeys:
    """The signing keys at one URL."""

    def __init__(
        self,
        url: str,
        *,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client or httpx.AsyncClient(timeout=FETCH_TIMEOUT_SECONDS)
        self._clock = clock
        self._keys: dict[str | None, Any] = {}
        self._fetched_at = -MIN_INTERVAL_SECONDS + clock() - 1
        self._failure: str | None = "not fetched yet"
        self._fetching = asyncio.Lock()

    @property
    def only(self) -> None:
        """None: the key id decides."""

    def find(self, key_id: str | None) -> Any | None:  # noqa: ANN401 - PyJWT takes many key types
        """The key with that id; a token without an id gets the only key there is."""
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    @property
    def known(self) -> bool:
        """Whether there are any keys: without them no token can be accepted or refused."""
        return bool(self._keys)

    async def refresh(self) -> None:
        """Fetch the keys, unless that was tried just now.

        Raises:
            KeysUnavailable: the URL did not answer with a key set. The keys known so far stay.
        """
        async with self._fetching:
            if self._clock() - self._fetched_at >= MIN_INTERVAL_SECONDS:
                self._fetched_at = self._clock()
                self._failure = await self._fetch()
            if self._failure is not None:
                raise KeysUnavailable(f"no keys from {self._url}: {self._failure}")

    async def _fetch(self) -> str | None:
        """Why there are no new keys, or None."""
        try:
            response = await self._client.get(self._url)
            response.raise_for_status()
            self._keys = await to_thread.run_sync(_signing_keys, response.content)
        except (httpx.HTTPError, httpx.InvalidURL, jwt.PyJWTError, ValueError) as error:
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    async def run(self) -> None:
        """Refresh in the background for ever, so that a rotated key is known before it is used."""
        while True:
            try:
                await self.refresh()
            except KeysUnavailable:
                await asyncio.sleep(MIN_INTERVAL_SECONDS)
            else:
                await asyncio.sleep(REFRESH_INTERVAL_SECONDS)

    async def aclose(self) -> None:
        """Close the HTTP client."""
        await self._client.aclose()


def _signing_keys(document: bytes) -> dict[str | None, Any]:
    """Keys by id, without those that are meant for encryption (RFC 7517, section 4.2)."""
    try:
        jwks = jwt.PyJWKSet.from_json(document.decode())
        return {key.key_id: key.key for key in jwks.keys if key.public_key_use in (None, "sig")}
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError) as error:
        # PyJWT takes any JSON for an object, and any value in it for a string.
        raise jwt.PyJWKSetError("expected a JSON object with keys") from error
