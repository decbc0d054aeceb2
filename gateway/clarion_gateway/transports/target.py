"""The target of a request: its path and its query. No I/O.

llhttp has read it. `httptools.parse_url` takes it apart, and knows every form. It takes 2 µs, which
counts where each poll is a request; nearly all targets are of a form that is split here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import httptools

# A path, maybe with a query: printable ASCII without a fragment. RFC 9112, section 3.2.1.
_USUAL: Final = re.compile(rb'(/[!"$->@-~]*)(?:\?([!"$-~]*))?')
_USUAL_MAX_BYTES: Final = 8_192


@lru_cache(maxsize=1)  # asked for twice in a row
def split(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a target. Both may be empty.

    >>> split(b"/socket.io/?EIO=4&transport=polling")
    (b'/socket.io/', b'EIO=4&transport=polling')

    Raises:
        httptools.HttpParserInvalidURLError: it is no target.
    """
    usual = _USUAL.fullmatch(target) if len(target) <= _USUAL_MAX_BYTES else None
    if usual is not None:
        return usual[1], usual[2] or b""
    url = httptools.parse_url(target)
    return url.path or b"", url.query or b""
