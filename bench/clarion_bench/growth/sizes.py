"""The sizes of a curve's points, and the most sockets that a gateway takes on this machine."""

from collections.abc import Sequence

# Files of a gateway that are no client's socket: its listeners, Redis, those that it sets aside.
_OTHER_FILES = 512


def room(files: int) -> int:
    """Return how many clients a gateway takes whose process may open so many files.

    It keeps one socket in eleven for clients that are still in their handshake.
    """
    return max(1, (files - _OTHER_FILES) * 10 // 11)


def sizes(usual: Sequence[int], largest: int) -> list[int]:
    """Return the usual sizes below the largest, and then the largest; none if it is 0.

    Args:
        usual: in rising order.
    """
    return [size for size in usual if size < largest] + [largest] if largest else []
