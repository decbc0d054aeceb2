"""The data of every event in a benchmark, the same bytes for every server.

The data is about 150 bytes of JSON of constant length, so that all frames of one server have the
same size. It holds a sequence number, which reveals lost, repeated and reordered events. It also
holds the publishing process's monotonic clock, which the load client reads on the same machine.
Both are strings of digits, so a server that parses the JSON and encodes it again can change neither
their precision nor their width. Larger events hold lines of an order as well, which compress about
as well as those of a shop.
"""

import random
import time
from functools import lru_cache

_TEMPLATE = (
    '{"seq":"%08d","at":"%018d","order":"8f14e45f-ceea-467f-9d3c-2f0a7b1c5e21",'
    '"status":"shipped","carrier":"DHL","total":"129.90","currency":"EUR"}'
)
_SEQUENCE_KEY = b'"seq":"'
_CLOCK_KEY = b'"at":"'
SIZE_BYTES = len(_TEMPLATE % (0, 0))
_NAMES = ("Desk lamp", "Office chair", "Notebook, lined", "Coffee mug", "Wall clock", "Backpack")
_LINES = ',"note":"%s","lines":[%s]}'
LARGER_BYTES = SIZE_BYTES + 50


def encode(sequence: int, at_ns: int | None = None, size_bytes: int = SIZE_BYTES) -> bytes:
    """Return the JSON of event number `sequence`.

    Args:
        at_ns: the time in it; without: the current one.
        size_bytes: SIZE_BYTES, or at least LARGER_BYTES.

    Raises:
        ValueError: for another size.
    """
    template = _template(size_bytes)
    return (template % (sequence, time.monotonic_ns() if at_ns is None else at_ns)).encode()


@lru_cache
def _template(size_bytes: int) -> str:
    """The text of events of a size, the same in every run."""
    if size_bytes == SIZE_BYTES:
        return _TEMPLATE
    if size_bytes < LARGER_BYTES:
        raise ValueError(f"expected {SIZE_BYTES} or at least {LARGER_BYTES} bytes: {size_bytes}")
    chance = random.Random(size_bytes)  # noqa: S311 - data, not a secret
    room = size_bytes - SIZE_BYTES + 1 - len(_LINES % ("", ""))
    lines = ""
    while len(longer := f"{lines},{_line(chance)}".lstrip(",")) <= room:
        lines = longer
    return _TEMPLATE[:-1] + _LINES % ("-" * (room - len(lines)), lines)


def _line(chance: random.Random) -> str:
    """A line of an order, of about 100 bytes."""
    cents = chance.randrange(100, 20_000)
    return (
        f'{{"sku":"{chance.getrandbits(48):012x}","name":"{chance.choice(_NAMES)}",'
        f'"quantity":{chance.randrange(1, 5)},"price":"{cents // 100}.{cents % 100:02d}"}}'
    )


def numbered(message: bytes) -> bool:
    """Say whether a server's message carries such data."""
    return _SEQUENCE_KEY in message


def decode(message: bytes) -> tuple[int, int]:
    """Find the sequence number and the publishing time (monotonic ns) in any server's message."""
    sequence = message.index(_SEQUENCE_KEY) + len(_SEQUENCE_KEY)
    clock = message.index(_CLOCK_KEY, sequence) + len(_CLOCK_KEY)
    return int(message[sequence : sequence + 8]), int(message[clock : clock + 18])
