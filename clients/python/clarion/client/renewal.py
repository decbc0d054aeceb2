"""The renewal of a token on an open connection, before the token ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

from clarion.client.errors import Stop
from clarion_contract.protocol.backoff import backoff_seconds

# A token is renewed after this part of its life, so that it does not expire on a slow network.
RENEW_AT: Final = 0.8
RENEW_MIN_SECONDS: Final = 5.0


class Renewal:
    """The task that replaces a connection's token.

    Args:
        renew: brings a fresh token. Its expiry begins the next renewal.
        stop: ends the connection, when the application wants no further token.
        jitter: returns a number between 0 and 1; spreads the attempts.
    """

    def __init__(
        self,
        renew: Callable[[], Awaitable[None]],
        stop: Callable[[Stop], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self._renew = renew
        self._stop = stop
        self._jitter = jitter
        self._task: asyncio.Task[None] | None = None

    def begin(self, expires_in: float | None) -> None:
        """Renew a token that ends after so many seconds; None: it does not end."""
        self.end()
        if expires_in is not None:
            self._task = asyncio.create_task(self._run(expires_in), name="clarion-renewal")

    def end(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, expires_in: float) -> None:
        """Bring a fresh token.

        If it fails, the gateway ends the connection when the token has ended, and the next
        connection asks for a token again.
        """
        await asyncio.sleep(max(RENEW_MIN_SECONDS, expires_in * RENEW_AT))
        for failures in count():
            try:
                await self._renew()
            except Stop as stop:
                await self._stop(stop)
                return
            except Exception:  # noqa: BLE001 - of the application, or a refusal: try again
                await asyncio.sleep(RENEW_MIN_SECONDS + backoff_seconds(failures, self._jitter()))
            else:
                return
