"""Random inputs without a fuzzer: the corpus as it is, then mutations of it, by a seed.

Finds less than a coverage-guided fuzzer, and runs wherever the tests run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tests.fuzz.target import MAX_BYTES

# Where parsers decide something.
_TOKENS = (
    b"\r\n", b"\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b",", b'"', b"\\", b"{", b"}", b"[", b"]",
    b"%", b"%00", b"&", b"?", b"://", b"@", b"=", b"-", b"1", b"0", b"99999999999999999999", b"1e999",
    b"null", b"true", b"\xff", b"\xc3", b"\\ud800", b"\x7f\xff", b"\x80", b"\x88", b"0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Upgrade: websocket\r\n",
)  # fmt: skip


def inputs(corpus: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Without end; always the same ones for a seed."""
    yield from corpus
    yield b""
    dice = random.Random(seed)
    while True:
        yield _mutated(dice, dice.choice(corpus), corpus)


def _mutated(dice: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    result = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 3, 8])):
        at = dice.randrange(len(result) + 1)
        what = dice.randrange(7)
        if what == 0 and at < len(result):
            result[at] ^= 1 << dice.randrange(8)
        elif what == 1:
            del result[at : at + dice.randrange(1, 30)]
        elif what == 2:
            result[at:at] = dice.randbytes(dice.randrange(1, 9))
        elif what == 3:
            result[at:at] = dice.choice(_TOKENS)
        elif what == 4:
            result[at:at] = result[at : at + dice.randrange(1, 60)]
        elif what == 5:
            result[at:at] = bytes([dice.randrange(256)]) * dice.choice([100, 1_000, 4_000])
        else:
            other = dice.choice(corpus)
            result[at:] = other[dice.randrange(len(other) + 1) :]
    return bytes(result[:MAX_BYTES])
