"""The data that every event of a benchmark carries, the same bytes for every server.

About 150 bytes of JSON, of constant length, so that frames of one server are all of one size. It
holds a sequence number (nothing lost, nothing doubled, order kept) and the publishing process's
monotonic clock, which the load client reads on the same machine. Both are strings of digits: a
server that parses and re-encodes the JSON can then change neither their precision nor their width.
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
    """Return the JSON of event number `sequence`, stamped with this moment unless told."""
    return (_TEMPLATE % (sequence, time.monotonic_ns() if at_ns is None else at_ns)).encode()


def numbered(message: bytes) -> bool:
    """Say whether a server's message carries such data."""
    return _SEQUENCE_KEY in message


def decode(message: bytes) -> tuple[int, int]:
    """Find the sequence number and the publishing time (monotonic ns) in any server's message."""
    sequence = message.index(_SEQUENCE_KEY) + len(_SEQUENCE_KEY)
    clock = message.index(_CLOCK_KEY, sequence) + len(_CLOCK_KEY)
    return int(message[sequence : sequence + 8]), int(message[clock : clock + 18])
