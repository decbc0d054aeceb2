"""Keys that an issuer publishes at a JWKS URL (RFC 7517), cached and rotated.

Keys are refreshed in the background, and fetched when a token names an unknown key. An issuer that
is down for a while therefore costs no client its connection. Fetches for unknown keys have a small
budget, so made-up key ids cost the issuer little and do not delay others for long. The document
comes from outside, so its size and the time to fetch it are bounded, unusable keys are left out,
and parsing runs off the event loop.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import structlog
from anyio import to_thread

from clarion_contract.events.errors import KeysUnavailable
from clarion_contract.identity.key_set import InvalidKeySet, KeySet, parse
from clarion_contract.identity.keys import Candidates

_log = structlog.get_logger(__name__)

FETCH_SECONDS: Final = 5.0
"""Limit for a whole fetch, because requests with an unknown key wait for it."""

MAX_BYTES: Final = 1024 * 1024
# Unknown key ids cost the issuer so many fetches at once, and later one in each interval.
BURST_FETCHES: Final = 5
BUDGET_SECONDS: Final = 5.0
# A signature that fails may have a fetch when the keys are older than this.
RECHECK_SECONDS: Final = 10.0
RETRY_INTERVAL_SECONDS: Final = 10.0
REFRESH_INTERVAL_SECONDS: Final = 300.0

_GZIP: Final = 31  # zlib's window bits for gzip
_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    "accept-encoding": "identity",
}


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
        self._shown = _shown(url)
        self._client = client or httpx.AsyncClient(timeout=fetch_seconds)
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._keys = KeySet()
        self._failure: str | None = "not fetched yet"
        self._began_at = -RECHECK_SECONDS + clock() - 1
        self._allowed = _Budget(clock)
        self._fetching = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None  # the fetch that has not begun yet
        self._tasks: set[asyncio.Task[None]] = set()

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

    def find(self, key_id: str | None, algorithm: str) -> Candidates:
        """See `clarion_contract.identity.key_set.KeySet.find`."""
        return self._keys.find(key_id, algorithm)

    async def refresh(self) -> None:
        """Return when a fetch that began after this call has brought the current keys.

        All that ask before it begins share one fetch. If the budget is used up, it begins later.

        Raises:
            KeysUnavailable: the URL did not answer with a key set. Known keys stay in use. While
                the URL fails, nobody waits for the budget.
        """
        if self._failure is not None and self._allowed.wait_seconds > 0:
            raise self._unavailable()
        if self._next is None:
            self._next = asyncio.create_task(self._fetch_when_allowed())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        # A client that gives up must not end the fetch for the others.
        await asyncio.shield(self._next)
        if self._failure is not None:
            raise self._unavailable()

    async def recheck(self) -> bool:
        """Fetch keys because a signature failed under a known key: issuers reuse key ids.

        Returns:
            Whether keys were fetched; False: the known ones are recent, or the issuer is down.
        """
        if self._clock() - self._began_at < RECHECK_SECONDS or self._allowed.wait_seconds > 0:
            return False
        try:
            await self.refresh()
        except KeysUnavailable:
            return False
        return True

    async def run(self) -> None:
        """Refresh in the background for ever, so that a new key is known before its first use."""
        while True:
            try:
                await self.refresh()
            except KeysUnavailable:
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            else:
                await asyncio.sleep(REFRESH_INTERVAL_SECONDS)

    async def aclose(self) -> None:
        """End fetches and close the HTTP client."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _fetch_when_allowed(self) -> None:
        async with self._fetching:
            await asyncio.sleep(self._allowed.wait_seconds)
            self._allowed.take()
            self._next = None  # from here on, those that ask need a later fetch
            self._began_at = self._clock()
            self._note(await self._fetch())

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
            _log.exception("the issuer's key set could not be read", url=self._shown)
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return None

    async def _document(self) -> bytes:
        async with self._client.stream("GET", self._url, headers=_HEADERS) as response:
            if response.status_code != httpx.codes.OK:
                raise InvalidKeySet(_not_ok(response))
            unpack = _unpacking(response)
            document = bytearray()
            async for chunk in response.aiter_raw():
                document += unpack(chunk, MAX_BYTES + 1 - len(document))
                if len(document) > MAX_BYTES:
                    raise InvalidKeySet(f"expected a document of at most {MAX_BYTES} bytes")
        return bytes(document)

    def _unavailable(self) -> KeysUnavailable:
        return KeysUnavailable(f"no keys from {self._shown}: {self._failure}")

    def _note(self, failure: str | None) -> None:
        """Log a change of state once, not at every attempt."""
        if failure is not None and failure != self._failure:
            _log.warning("no keys from the issuer", url=self._shown, error=failure)
        elif failure is None and self._failure is not None:
            _log.info("got keys from the issuer", url=self._shown, key_ids=sorted(self._keys.ids))
        self._failure = failure


class _Budget:
    """The limit on fetches that begin: a few at once, then one in each interval."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at = clock()  # when all fetches are allowed again

    @property
    def wait_seconds(self) -> float:
        """Until the next fetch may begin; 0: now."""
        spare = (BURST_FETCHES - 1) * BUDGET_SECONDS
        return max(0.0, self._full_at - self._clock() - spare)

    def take(self) -> None:
        """A fetch begins."""
        self._full_at = max(self._full_at, self._clock()) + BUDGET_SECONDS


def _unpacking(response: httpx.Response) -> Callable[[bytes, int], bytes]:
    """Turns the bytes of an answer into those of its document, at most so many.

    Some stores answer with gzip although nobody asked. A small answer must not unpack to a large
    one.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return lambda chunk, _max_bytes: chunk
    if encoding not in {"gzip", "x-gzip"}:
        raise InvalidKeySet(f"expected an answer that is not compressed, got {encoding[:40]!r}")
    unpacker = zlib.decompressobj(_GZIP)

    def unpack(chunk: bytes, max_bytes: int) -> bytes:
        try:
            return unpacker.decompress(chunk, max_bytes)
        except zlib.error:
            raise InvalidKeySet("expected gzip, as content-encoding says") from None

    return unpack


def _not_ok(response: httpx.Response) -> str:
    answered = f"expected status 200, got {response.status_code} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        return f"{answered} to {response.headers['location'][:200]!r}: redirects are not followed"
    return answered


def _shown(url: str) -> str:
    """The URL as logs and `/readyz` may show it: its login and query may be secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as brackets around what is no IPv6 address
        return "a URL that cannot be read"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _cause(error: BaseException) -> str:
    """The text of the innermost error: httpx itself says only that all attempts failed."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error).splitlines()[0] if str(error) else type(error).__name__
