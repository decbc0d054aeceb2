"""A request that one gateway passes on to the one that has the session. No I/O.

It goes to the internal port over HTTP, and is signed with the key that all pods share: nobody else
reaches sessions by that port. The signature covers method and query, so it names the session. A
repeated request can do no more than its client, which knows the session's secret id.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Final

PATH: Final = b"/socketio"
"""Path of the internal port."""

SIGNATURE: Final = "x-clarion-hop"
"""Header with the signature."""

_PASSED_ON: Final = frozenset(
    {
        "content-type",
        "origin",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
    }
)
_PURPOSE: Final = b"hop\n"


class Hop:
    """Makes and checks such requests.

    Args:
        key: returns the key that all pods share; None: not known yet.
    """

    def __init__(self, key: Callable[[], bytes | None]) -> None:
        self._key = key

    def is_genuine(self, method: str, query: str, signature: str | None) -> bool:
        """Whether a pod with the key has signed a request."""
        expected = self._signature(method, query)
        return (
            expected is not None
            and signature is not None
            and hmac.compare_digest(expected.encode(), signature.encode())
        )

    def request(
        self,
        method: str,
        query: str,
        headers: Iterable[tuple[str, str]],
        *,
        body: bytes = b"",
        upgrades: bool = False,
    ) -> bytes | None:
        """The whole request; None while there is no key.

        Args:
            query: of the client's request, as it was sent.
            headers: of the client's request; few of them are passed on.
            upgrades: whether it asks for a WebSocket.
        """
        signature = self._signature(method, query)
        if signature is None:
            return None
        lines = [
            f"{method} {PATH.decode()}?{query} HTTP/1.1",
            "host: gateway",
            f"{SIGNATURE}: {signature}",
            *(f"{name}: {value}" for name, value in headers if name in _PASSED_ON),
        ]
        if upgrades:
            lines += ["upgrade: websocket", "connection: Upgrade"]
        else:
            lines.append(f"content-length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body

    def _signature(self, method: str, query: str) -> str | None:
        key = self._key()
        if key is None:
            return None
        signed = _PURPOSE + f"{method}\n{query}".encode("latin-1", "replace")
        return hmac.digest(key, signed, hashlib.sha256).hex()
