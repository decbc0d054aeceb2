"""The ids of Engine.IO sessions that any pod may be asked for: each names its pod, signed. No I/O.

A sid is a secret of its client. It consists of random bytes, the *mark* of the pod that has the
session, and a signature with a key that all pods share. So a client cannot steer a gateway to an
address: a mark counts only in a genuine sid, and says nothing but which pod made it.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final

_RANDOM_BYTES: Final = 15
_MARK_BYTES: Final = 6
_SIGNATURE_BYTES: Final = 12
_SIGNED_BYTES: Final = _RANDOM_BYTES + _MARK_BYTES
# Whole groups of three bytes, so that base64 needs no padding.
_CHARACTERS: Final = (_SIGNED_BYTES + _SIGNATURE_BYTES) * 4 // 3
_PURPOSE: Final = b"sid\n"


class Sids:
    """Makes and reads the ids of one pod.

    Attributes:
        mark: of this pod, in hexadecimal; a new one for each process.

    Args:
        key: returns the key that all pods share; None: not known yet.
    """

    def __init__(self, key: Callable[[], bytes | None], *, mark: bytes | None = None) -> None:
        self._key = key
        self._mark = secrets.token_bytes(_MARK_BYTES) if mark is None else mark
        self.mark = self._mark.hex()

    def new(self) -> str | None:
        """An id that nobody can guess; None while there is no key."""
        key = self._key()
        if key is None:
            return None
        signed = secrets.token_bytes(_RANDOM_BYTES) + self._mark
        return urlsafe_b64encode(signed + _signature(key, signed)).decode()

    def mark_of(self, sid: str) -> str | None:
        """The mark of the pod that has made an id; None: no pod with this key has.

        >>> sids = Sids(lambda: b"key", mark=b"abcdef")
        >>> sids.mark_of(sids.new())
        '616263646566'
        >>> sids.mark_of("forged")
        """
        key = self._key()
        if key is None or len(sid) != _CHARACTERS or not sid.isascii():
            return None
        try:
            decoded = urlsafe_b64decode(sid)
        except (binascii.Error, ValueError):
            return None
        signed, signature = decoded[:_SIGNED_BYTES], decoded[_SIGNED_BYTES:]
        if not hmac.compare_digest(signature, _signature(key, signed)):
            return None
        return signed[_RANDOM_BYTES:].hex()


def _signature(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + signed, hashlib.sha256)[:_SIGNATURE_BYTES]
