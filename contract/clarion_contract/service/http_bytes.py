"""Every byte that a client sends counts: request lines, headers, chunk framing with its extensions,
trailers, empty lines, and what comes after the last answer. No I/O.

llhttp limits none of them.
"""

from __future__ import annotations

from typing import Final

# After its answer, a client that is still sending gets this much room to read the answer: more if
# the app has answered before the body was complete than if a limit was broken.
_LINGER_MAX_BYTES: Final = 1 << 20
_LINGER_BODY_MAX_BYTES: Final = 16 << 20
# Framing of a one-byte chunk: its size, two line ends, and a little spare room.
_FRAMING_PER_BYTE: Final = 8
# RFC 9112, section 2.2: an empty line before a request is ignored. One line, not a stream of them.
_STRAY_MAX_BYTES: Final = 2


class ByteCounts:
    """The bytes of one connection. Each method counts, and tells whether that is too many.

    Attributes:
        head: of a head that is not complete.
        body: of the current body's content.
    """

    __slots__ = ("_framing", "_framing_run", "_head_max", "_stray", "body", "head")

    def __init__(self, head_max_bytes: int) -> None:
        """Begin at zero.

        Args:
            head_max_bytes: of a head; also of framing and trailers.
        """
        self.head = 0
        self.body = 0
        self._head_max = head_max_bytes
        self._stray = 0
        self._framing = 0
        self._framing_run = 0  # since the last byte of content

    def more_of_head(self, size: int) -> bool:
        """Bytes of a head that is still not complete."""
        self.head += size
        return self.head >= self._head_max

    @property
    def has_stray(self) -> bool:
        """Whether bytes have come that begin no request, since the last one."""
        return self._stray > 0

    def stray(self, size: int) -> bool:
        """Bytes between requests that begin none."""
        self._stray += size
        return self._stray > _STRAY_MAX_BYTES

    def framing(self, size: int, content: int) -> bool:
        """Bytes of a body's framing, and how many bytes of content came with them."""
        if not size:
            self._framing_run = 0
            return False
        self._framing += size
        self._framing_run = 0 if content else self._framing_run + size
        return (
            self._framing_run > self._head_max
            or self._framing > self._head_max + _FRAMING_PER_BYTE * self.body
        )

    def late(self, size: int, *, is_early: bool) -> bool:
        """Bytes that nobody looks at any more.

        Args:
            is_early: the app answered before the body was complete.
        """
        self._stray += size
        return self._stray > (_LINGER_BODY_MAX_BYTES if is_early else _LINGER_MAX_BYTES)

    def message_begins(self) -> None:
        """A request begins."""
        self._stray = 0

    def message_ends(self) -> None:
        """A request is complete."""
        self.body = self._framing = self._framing_run = 0

    def listening_ends(self) -> None:
        """The protocol reads no more; the bytes that follow are thrown away."""
        self._stray = 0
