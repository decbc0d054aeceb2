"""The parts of both publishers: the address, the limits, the token in use, the batches' bounds."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import httpx

from clarion.local import is_local
from clarion.publisher.batches import AnyPromise, Bounds, Submitted
from clarion.publisher.delivery import Answer, Ask, Attempts, NoAnswer
from clarion.publisher.events import NewEvent
from clarion.publisher.tokens import KeptToken, TokenSource
from clarion.publisher.tracing import trace_reader

_IDLE_SECONDS: Final = (
    30.0  # less than PUBLISHER_KEEP_ALIVE_SECONDS, so that the client closes first
)
_CONNECT_SECONDS: Final = 5.0
_REDIS: Final = ("redis", "unix")  # and rediss, redis+sentinel, redis+cluster


class Configuration:
    """The arguments of a publisher.

    Attributes:
        source: where tokens come from.
        kept: the token in use.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource,
        timeout_seconds: float,
        retry_seconds: float,
        bounds: Bounds | None,
    ) -> None:
        self.url = checked_url(url)
        self.is_redis = self.url.startswith(_REDIS)
        self.source = token
        self.kept = KeptToken()
        self.timeout = httpx.Timeout(
            timeout_seconds, connect=min(timeout_seconds, _CONNECT_SECONDS)
        )
        self.limits = httpx.Limits(keepalive_expiry=_IDLE_SECONDS)
        self.attempts = Attempts(retry_seconds)
        self.bounds = bounds or Bounds()
        self.trace = trace_reader()
        self.trust_env = not is_local(self.url)

    def submitted(self, event: NewEvent, promise: AnyPromise) -> Submitted[AnyPromise]:
        """An event on its way, in the trace of the caller.

        Raises:
            TypeError: a part of its data has no JSON form.
        """
        return Submitted(event.encoded(), event.key, self.trace(), promise)


def checked_url(url: str) -> str:
    """The URL of a publisher without a trailing slash, or that of a Redis as it is.

    Raises:
        ValueError: it is neither.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = good and parts.port
    except ValueError:
        good = False
    else:
        if parts.scheme.startswith(_REDIS):
            return url
    if not good:
        raise ValueError(f"expected a publisher's URL like http://127.0.0.1:8080, got {url!r}")
    return url.rstrip("/")


def headers_for(ask: Ask, token: str) -> dict[str, str]:
    """The headers of a request."""
    headers = {**ask.trace, "Authorization": f"Bearer {token}"}
    if ask.body:
        headers["Content-Type"] = "application/json"
    return headers


def answer_of(response: httpx.Response) -> Answer:
    """The parts of a response that the delivery needs."""
    return Answer(response.status_code, response.content, response.headers.get("Retry-After"))


def no_answer(cause: Exception) -> NoAnswer:
    """An attempt that came to nothing, by an exception of httpx or of the token source."""
    failure = NoAnswer()
    failure.__cause__ = cause
    return failure
