"""The publisher's HTTP protocol: `clarion_contract.service.http_protocol` with the publisher's
problem documents.

A request for an upgrade is served as if it did not ask for one. Java's own HTTP client asks for h2c
with its first request, and uvicorn with httptools would lose that request's body.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from clarion_contract.service.http_port import Breach
from clarion_contract.service.http_shortcut_protocol import ShortcutHttpProtocol
from clarion_publisher.ingestion.refusal import RETRY_SECONDS
from clarion_publisher.sources.http.problems import (
    CONTENT_TYPE,
    HEAD_TOO_LARGE,
    MALFORMED_REQUEST,
    OVERLOADED,
    REQUEST_TIMEOUT,
    HttpRefusal,
)

_ROWS: Final = {
    Breach.MALFORMED: MALFORMED_REQUEST,
    Breach.TOO_SLOW: REQUEST_TIMEOUT,
    Breach.HEAD_TOO_LARGE: HEAD_TOO_LARGE,
    Breach.TOO_MANY_SOCKETS: OVERLOADED,
    Breach.NO_DESCRIPTORS: OVERLOADED,
}


class PublisherHttpProtocol(ShortcutHttpProtocol):
    """One TCP connection to the public port."""

    def refusal(self, breach: Breach, detail: str) -> tuple[str, bytes]:
        """See `BoundedHttpProtocol`. The response looks like the publisher's other refusals."""
        row = _ROWS[breach]
        retry_after_seconds = RETRY_SECONDS if row is OVERLOADED else None
        refusal = HttpRefusal(row, detail, retry_after_seconds=retry_after_seconds)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(refusal.body)),
            (b"connection", b"close"),
            *((name.encode(), value.encode("latin-1")) for name, value in refusal.headers),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        response = b"".join([STATUS_LINE[row.status], *lines, b"\r\n", refusal.body])
        return (breach.reason if row is OVERLOADED else row.name), response
