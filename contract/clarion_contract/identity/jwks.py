"""Keys that an issuer publishes at a JWKS URL (RFC 7517), cached and rotated.

Keys are fetched when a token names an unknown key, and refreshed in the background. An issuer that
is down for a while therefore costs no client its connection. The document comes from outside, so
its size and the time to fetch it are bounded, unusable keys are left out, and parsing runs off the
event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import jwt
import msgspec
import structlog
from anyio import to_thread

from clarion_contract.events.errors import InvalidToken, KeysUnavailable
from clarion_contract.identity.jws import ASYMMETRIC

_log = structlog.get_logger(__name__)

FETCH_SECONDS: Final = 5.0
"""Limit for a whole fetch, because requests with an unknown key wait for it."""

MAX_BYTES: Final = 1024 * 1024
# A storm of tokens with made-up key ids costs the issuer one request per interval in all.
MIN_INTERVAL_SECONDS: Final = 10.0
REFRESH_INTERVAL_SECONDS: Final = 300.0


_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    "accept-encoding": "identity",  # a small answer must not unpack to a large one
}


class InvalidKeySet(ValueError):
    """The document holds no key that verifies tokens; the text says what was expected."""


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key of the set.

    Attributes:
        key: a public key of `cryptography`.
        algorithm: the only algorithm the key is for (RFC 7517, section 4.4); None: any that fits.
    """

    key: Any
    algorithm: str | None


KeySet = Mapping[str | None, tuple[PublishedKey, ...]]
"""Keys by id. One id may name several keys, for different algorithms."""


class JwksKeys:
    """The signing keys at one URL."""

    def __init__(
        self,
        url: str,
        *,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        self._url = url
        self._client = client or httpx.AsyncClient(timeout=fetch_seconds)
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._keys: KeySet = {}
        self._fetched_at = -MIN_INTERVAL_SECONDS + clock() - 1
        self._failure: str | None = "not fetched yet"
        self._fetching = asyncio.Lock()

    @property
    def only(self) -> None:
        """None: tokens choose their key by its id."""

    @property
    def known(self) -> bool:
        """Whether there are any keys: without them no token can be accepted or refused."""
        return bool(self._keys)

    @property
    def failure(self) -> str | None:
        """Why the last fetch brought no keys; None: the last fetch succeeded."""
        return self._failure

    def find(self, key_id: str | None, algorithm: str) -> Any | None:  # noqa: ANN401 - PyJWT's
        """The key with that id. If the set has only one key, a token without an id gets that key.

        Raises:
            InvalidToken: the key is for another algorithm than the token's.
        """
        if key_id is None and len(self._keys) == 1:
            (candidates,) = self._keys.values()
        else:
            candidates = self._keys.get(key_id, ())
        for candidate in candidates:
            if candidate.algorithm in (None, algorithm):
                return candidate.key
        if candidates:
            raise InvalidToken("algorithm", "the token's key is for another algorithm")
        return None

    async def refresh(self) -> None:
        """Fetch the keys, unless a fetch was tried a moment ago.

        Raises:
            KeysUnavailable: the URL did not answer with a key set. Known keys stay in use.
        """
        async with self._fetching:
            if self._clock() - self._fetched_at >= MIN_INTERVAL_SECONDS:
                self._fetched_at = self._clock()
                self._note(await self._fetch())
            if self._failure is not None:
                raise KeysUnavailable(f"no keys from {self._url}: {self._failure}")

    async def run(self) -> None:
        """Refresh in the background for ever, so that a new key is known before its first use."""
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

    async def _fetch(self) -> str | None:
        """Fetch and keep the keys. Returns why there are none; None: there are."""
        try:
            async with asyncio.timeout(self._fetch_seconds):
                document = await self._document()
            self._keys = await to_thread.run_sync(parse, document)
        except TimeoutError:
            return f"no whole answer within {self._fetch_seconds:g} s"
        except httpx.TimeoutException:
            return f"no answer within {self._fetch_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"{type(error).__name__}: {_cause(error)}"
        except InvalidKeySet as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a foreign document ends no service
            _log.exception("the issuer's key set could not be read", url=self._url)
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    async def _document(self) -> bytes:
        async with self._client.stream("GET", self._url, headers=_HEADERS) as response:
            if response.status_code != httpx.codes.OK:
                raise InvalidKeySet(_not_ok(response))
            if "content-encoding" in response.headers:
                raise InvalidKeySet("expected an answer that is not compressed")
            document = bytearray()
            async for chunk in response.aiter_raw():
                document += chunk
                if len(document) > MAX_BYTES:
                    raise InvalidKeySet(f"expected a document of at most {MAX_BYTES} bytes")
        return bytes(document)

    def _note(self, failure: str | None) -> None:
        """Log a change of state once, not at every attempt."""
        if failure is not None and failure != self._failure:
            _log.warning("no keys from the issuer", url=self._url, error=failure)
        elif failure is None and self._failure is not None:
            _log.info(
                "got keys from the issuer", url=self._url, key_ids=sorted(map(str, self._keys))
            )
        self._failure = failure


def parse(document: bytes) -> KeySet:
    """The keys of a JWK set that can verify a token. Other keys are left out and logged.

    Raises:
        InvalidKeySet: no key of the set can verify a token.
    """
    try:
        key_set = msgspec.json.decode(document)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise InvalidKeySet(f"expected JSON, got {document[:40]!r}") from None
    if not isinstance(key_set, dict) or not isinstance(key_set.get("keys"), list):
        raise InvalidKeySet(_no_key_set(key_set))
    found: dict[str | None, tuple[PublishedKey, ...]] = {}
    refused: list[str] = []
    for number, value in enumerate(key_set["keys"]):
        try:
            key_id, key = _key(value)
        except InvalidKeySet as error:
            refused.append(f"key {number}: {error}")
        except Exception as error:  # noqa: BLE001 - PyJWT takes any value for what it expects
            refused.append(f"key {number}: {type(error).__name__}: {error}".splitlines()[0])
        else:
            found[key_id] = (*found.get(key_id, ()), key)
    if not found:
        raise InvalidKeySet("; ".join(["expected a key that verifies signatures", *refused[:3]]))
    if refused:
        _log.info("keys left out of the issuer's set", reasons=refused[:10])
    return found


def _key(value: object) -> tuple[str | None, PublishedKey]:
    """One key of the set, and its id.

    Raises:
        InvalidKeySet: the key is not meant for verifying signatures (RFC 7517, sections 4.2 to
            4.4), or it is a shared secret, which is no secret once published.
    """
    if not isinstance(value, dict):
        raise InvalidKeySet("expected an object")
    key_id, use, algorithm = value.get("kid"), value.get("use"), value.get("alg")
    operations = value.get("key_ops")
    if key_id is not None and not isinstance(key_id, str):
        raise InvalidKeySet("expected kid to be a string")
    if use not in (None, "sig"):
        raise InvalidKeySet(f"its use is {use!r}, not 'sig'")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        raise InvalidKeySet("its key_ops lack 'verify'")
    if algorithm is not None and algorithm not in ASYMMETRIC:
        raise InvalidKeySet(
            f"expected its alg to be one of {', '.join(sorted(ASYMMETRIC))}, got {algorithm!r}"
        )
    if value.get("kty") == "oct":
        raise InvalidKeySet("it is a shared secret")
    return key_id, PublishedKey(jwt.PyJWK.from_dict(value).key, algorithm)


def _not_ok(response: httpx.Response) -> str:
    answered = f"expected status 200, got {response.status_code} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        return f"{answered} to {response.headers['location'][:200]!r}: redirects are not followed"
    return answered


def _no_key_set(value: object) -> str:
    expected = "expected a JSON object with a list of keys"
    if isinstance(value, dict) and isinstance(value.get("jwks_uri"), str):
        return f"{expected}, got a discovery document, which says: {value['jwks_uri'][:200]}"
    return expected


def _cause(error: BaseException) -> str:
    """The text of the innermost error: httpx itself says only that all attempts failed."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error).splitlines()[0] if str(error) else type(error).__name__
