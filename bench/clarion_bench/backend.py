"""A backend behind a gateway that answers at once, or never.

    python -m clarion_bench.backend PORT

It parses as little of HTTP as the gateway's requests need, so that the gateway remains the limit.
"""

import asyncio
import sys
from typing import Final

HANGING: Final = "bench.hang"
"""Messages of this type get no answer."""
ANSWERED: Final = "bench.answer"

_ANSWER: Final = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"reply":1}'
)
_LENGTH: Final = b"content-length:"
_HANGS: Final = f'"clariontype":"{HANGING}"'.encode()


def request_size(received: bytes) -> int | None:
    """The bytes of the first request, or None if its end has not come."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    lower = received[:head].lower()
    at = lower.index(_LENGTH) + len(_LENGTH)
    end = head + 4 + int(lower[at:].split(b"\r\n", 1)[0])
    return end if len(received) >= end else None


class Answering(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._received += data
        while (size := request_size(self._received)) is not None:
            request, self._received = self._received[:size], self._received[size:]
            if _HANGS not in request and self._transport is not None:
                self._transport.write(_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
