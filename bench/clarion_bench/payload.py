"""The data of every event in a benchmark, the same bytes for every server.

The data is about 150 bytes of JSON of constant length, so that all frames of one server have the
same size. It holds a sequence number, which reveals lost, repeated and reordered events. It also
holds the publishing process's monotonic clock, which the load client reads on the same machine.
Both are strings of digits, so a server that parses the JSON and encodes it again can change neither
their precision nor their width.
"""

import time

_TEMPLATE = (
    '{"seq":"%08d","at":"%018d","order":"8f14e45f-ceea-467f-9d3c-2f0a7b1c5e21",'
    '"status":"shipped","carrier":"DHL","total":"129.90","currency":"EUR"}'
)
_SEQUENCE_KEY = b'"seq":"'
_CLOCK_KEY = b'"at":"'
SIZE_BYTES = len(_TEMPLATE % (0, 0))


def encode(sequence: int, at_ns: int | None = None) -> bytes:
    """Return the JSON of event number `sequence`, with the given time or the current one."""
    return (_TEMPLATE % (sequence, time.monotonic_ns() if at_ns is None else at_ns)).encode()


def numbered(message: bytes) -> bool:
    """Say whether a server's message carries such data."""
    return _SEQUENCE_KEY in message


def decode(message: bytes) -> tuple[int, int]:
    """Find the sequence number and the publishing time (monotonic ns) in any server's message."""
    sequence = message.index(_SEQUENCE_KEY) + len(_SEQUENCE_KEY)
    clock = message.index(_CLOCK_KEY, sequence) + len(_CLOCK_KEY)
    return int(message[sequence : sequence + 8]), int(message[clock : clock + 18])
