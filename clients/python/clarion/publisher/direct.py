"""Publishing straight onto Redis: the carrier that stands in HTTP's place.

The modules that reach Redis come with the extra ``server``, so they are imported when needed.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol, cast

import msgspec

from clarion.publisher.connection import no_answer
from clarion.publisher.delivery import Answer, Ask, NoAnswer
from clarion_contract.identity.claims import Claims


class Carrier(Protocol):
    """`clarion_publisher.direct.Direct`."""

    async def ask(
        self, path: str, body: bytes, caller: Claims, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """The status and the content with which the HTTP API would answer."""

    async def aclose(self) -> None:
        """Close the connections."""


def carrier_to(url: str) -> Carrier:
    """A carrier to a Redis, for one event loop.

    Raises:
        ValueError: the URL or a variable of the environment is wrong.
        ModuleNotFoundError: the extra ``server`` is not installed.
    """
    return cast("Carrier", importlib.import_module("clarion_publisher.direct").Direct(url))


async def ask_redis(carrier: Carrier, ask: Ask, token: str) -> Answer | NoAnswer:
    """Carry out one request."""
    try:
        status, content = await carrier.ask(ask.path, ask.body, claims_of(token), ask.trace)
    except OSError as error:
        return no_answer(error)
    return Answer(status, content)


class RedisThread:
    """A carrier in an event loop of its own, for callers without one."""

    def __init__(self, url: str) -> None:
        self._carrier = carrier_to(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="clarion-redis", daemon=True
        )
        self._thread.start()

    def ask(self, ask: Ask, token: str) -> Answer | NoAnswer:
        """Carry out one request."""
        work = ask_redis(self._carrier, ask, token)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        asyncio.run_coroutine_threadsafe(self._carrier.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@lru_cache(maxsize=16)
def claims_of(token: str) -> Claims:
    """The service and the scopes that a token names. Nobody checks its signature here.

    Raises:
        ValueError: it is no token.
    """
    try:
        payload = token.split(".")[1]
        decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        claims: dict[str, Any] = msgspec.json.decode(decoded, type=dict[str, Any])
    except (IndexError, ValueError, msgspec.DecodeError):
        raise ValueError("expected a service's token, such as a ServiceToken makes") from None
    scope = claims.get("scope", "")
    scopes = scope.split() if isinstance(scope, str) else scope
    return Claims(str(claims.get("sub", "")), frozenset(scopes), float(claims.get("exp", 0)))
