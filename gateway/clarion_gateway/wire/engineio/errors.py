"""The answers to requests that open no session: a code, a text and a status each. No I/O.

A client that gets one comes back by itself, later and later. A client that must stop is told so on
an open session, by Socket.IO.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec


@dataclass(frozen=True, slots=True)
class EngineError:
    """One kind of answer, an error of the protocol.

    Attributes:
        code: for the client's program.
        message: for people; the protocol names it.
        label: by which refusals are counted.
        status: of the HTTP response.
    """

    code: int
    message: str
    label: str
    status: int = 400

    @property
    def body(self) -> bytes:
        """The body of the response, as JSON."""
        return msgspec.json.encode({"code": self.code, "message": self.message})


UNKNOWN_TRANSPORT: Final = EngineError(0, "Transport unknown", "transport")
UNKNOWN_SESSION: Final = EngineError(1, "Session ID unknown", "session")
NOT_GET: Final = EngineError(2, "Bad handshake method", "method")
BAD_REQUEST: Final = EngineError(3, "Bad request", "request")
TOO_LARGE: Final = EngineError(3, "Body larger than maxPayload", "too_large", 413)
FORBIDDEN: Final = EngineError(4, "Forbidden", "forbidden", 403)
UNAVAILABLE: Final = EngineError(4, "Come back later", "unavailable", 503)
UNSUPPORTED_VERSION: Final = EngineError(5, "Unsupported protocol version", "version")
ALL: Final = (
    UNKNOWN_TRANSPORT, UNKNOWN_SESSION, NOT_GET, BAD_REQUEST, TOO_LARGE, FORBIDDEN, UNAVAILABLE,
    UNSUPPORTED_VERSION,
)  # fmt: skip
