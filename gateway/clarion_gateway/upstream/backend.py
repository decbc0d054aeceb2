"""Calls an HTTP backend: signed, over connections that stay open, within bounds.

One call is one event. It is tried again, with the same id, if the backend could not be reached or
said that it is not able now. Redirects are not followed: a signed body goes to the URL in the
settings and nowhere else.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import Final

import aiohttp
import structlog

from clarion_contract.service.webhooks import Signer
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.metrics.upstream import UpstreamMetrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.upstream.answers import InvalidAnswer, UpstreamAnswer, decode_answer
from clarion_gateway.upstream.circuit import Circuit
from clarion_gateway.upstream.slots import Slots

_CONTENT_TYPE: Final = "application/cloudevents+json"
# Statuses after which the same request may succeed.
_TEMPORARY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACKOFF_SECONDS: Final = 0.05
# Shorter than the time after which common servers close idle connections (Node: 5 s). A request
# that meets such a close is sent again, but that costs time.
_IDLE_SECONDS: Final = 4.0
_LOG_SECONDS: Final = 5.0
# Calls that begin together must not time out together: each costs the loop some 0.2 ms, and all
# sockets of the pod wait for hundreds of them.
_TIMEOUT_SPREAD: Final = 0.2

_log = structlog.get_logger(__name__)


class UpstreamFailed(Exception):
    """The backend gave no usable answer; the text says why.

    Attributes:
        outcome: metric label.
        temporary: whether the same call may succeed later.
    """

    def __init__(self, outcome: str, reason: str, *, temporary: bool) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.temporary = temporary

    @property
    def passes(self) -> bool:
        """Whether the client should try again later."""
        return self.temporary or self.outcome == "circuit_open"

    def refusal(self) -> Refusal:
        """The failure as the client is told of it, without the backend's affairs."""
        if self.passes:
            return Refusal("unavailable", "the application does not answer, try again")
        return Refusal("internal", "the handler failed")


class Backend:
    """The backend, and what is under way to it.

    Attributes:
        circuit: open while the backend does not answer.
        slots: of the calls under way.
    """

    def __init__(
        self, url: str, signer: Signer, metrics: UpstreamMetrics, settings: GatewaySettings
    ) -> None:
        self.circuit = Circuit(settings.upstream_circuit_failures)
        self.slots = Slots(settings.upstream_concurrency, settings.upstream_client_concurrency)
        self._url = url
        self._signer = signer
        self._metrics = metrics
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._quiet_until = 0.0

    async def call(self, client: str, id_: str, body: bytes) -> UpstreamAnswer:
        """Send one event, and return the answer.

        Args:
            client: for whom; calls for one client share a bound.
            id_: of the event; the backend may see it more than once, and should act once.
            body: a CloudEvent as JSON.

        Raises:
            UpstreamFailed: there is no usable answer.
        """
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            if self.circuit.refuses():  # nobody waits for a slot in vain
                raise _circuit_open()
            async with self.slots.take(client):
                answer = decode_answer(await self._retried(id_, body))
            outcome = "answered"
        except InvalidAnswer as error:
            outcome = "invalid_answer"
            self.complain(error)
            raise UpstreamFailed(outcome, str(error), temporary=False) from None
        except UpstreamFailed as failed:
            outcome = failed.outcome
            self.complain(failed)
            raise
        finally:
            self._metrics.call(outcome, time.perf_counter() - started)
        return answer

    def complain(self, failed: Exception) -> None:
        """Log a failure; not each of many."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_SECONDS
            _log.warning("upstream failed", reason=str(failed))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _retried(self, id_: str, body: bytes) -> bytes:
        attempt = 0
        while True:
            if not self.circuit.enter():
                raise _circuit_open()
            try:
                return await self._judged(id_, body)
            except UpstreamFailed as failed:
                if not failed.temporary or attempt >= self._settings.upstream_retries:
                    raise
            spread = random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, no secret
            await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt * spread)
            attempt += 1
            self._metrics.retries.inc()

    async def _judged(self, id_: str, body: bytes) -> bytes:
        """One attempt, whose outcome the circuit learns."""
        try:
            answer = await self._attempt(id_, body)
        except UpstreamFailed as failed:
            if failed.temporary:
                self.circuit.failed()
            else:
                self.circuit.succeeded()  # it answers, and is at fault itself
            raise
        except BaseException:
            self.circuit.abandoned()
            raise
        self.circuit.succeeded()
        return answer

    async def _attempt(self, id_: str, body: bytes) -> bytes:
        headers = self._signer.headers(id_, int(time.time()), body)
        headers["content-type"] = _CONTENT_TYPE
        spread = random.uniform(1 - _TIMEOUT_SPREAD, 1)  # noqa: S311 - spreads load, no secret
        timeout = aiohttp.ClientTimeout(
            total=self._settings.upstream_seconds * spread,
            ceil_threshold=math.inf,  # aiohttp would round longer ones up, all to the same time
        )
        try:
            async with self._opened().post(
                self._url, data=body, headers=headers, allow_redirects=False, timeout=timeout
            ) as response:
                status = response.status
                answer = await _read(response, self._settings.upstream_answer_max_bytes)
        except TimeoutError:
            seconds = self._settings.upstream_seconds
            raise UpstreamFailed(
                "timeout", f"no answer within {seconds:g} s", temporary=True
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailed("unreachable", _reason(error), temporary=True) from None
        if not 200 <= status < 300:
            temporary = status in _TEMPORARY
            reason = f"expected a status of 200 to 299, got {status}"
            raise UpstreamFailed("status", reason, temporary=temporary)
        return answer

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            connector = aiohttp.TCPConnector(
                limit=settings.upstream_concurrency,
                keepalive_timeout=_IDLE_SECONDS,
                ttl_dns_cache=10,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"user-agent": "clarion-gateway"},
                auto_decompress=False,
                skip_auto_headers=["accept-encoding"],
            )
        return self._session


def _reason(error: Exception) -> str:
    """An error as one line without the URL, whose path and query may be secrets."""
    if isinstance(error, aiohttp.ClientResponseError):
        text = error.message
    elif isinstance(error, ValueError):  # `InvalidURL` is one
        text = "the URL, or an address that it leads to, is none"
    else:
        text = str(error)
    return f"{type(error).__name__}: {text}".splitlines()[0][:300]


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body, within its bound.

    Raises:
        UpstreamFailed: it is longer.
    """
    length = response.content_length
    if length is not None and length <= max_bytes:
        return await response.read()
    chunks = bytearray()
    async for chunk in response.content.iter_any():
        chunks += chunk
        if len(chunks) > max_bytes:
            reason = f"expected an answer of at most {max_bytes} bytes"
            raise UpstreamFailed("invalid_answer", reason, temporary=False)
    return bytes(chunks)


def _circuit_open() -> UpstreamFailed:
    reason = "the backend failed many times in a row; calls fail until it answers again"
    return UpstreamFailed("circuit_open", reason, temporary=False)
