"""Signs HTTP requests by the conventions of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

A signature covers the request's id, its time and its body, so a receiver can refuse a request that
was changed, that is old, or that it has seen before. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SECRET_MIN_BYTES: Final = 24
_PREFIX: Final = "whsec_"


class Signer:
    """Signs with one secret, or with several while receivers change to a new one.

    Args:
        secrets: each is ``whsec_`` and base64, or any text of 24 bytes or more, used as it is.

    Raises:
        ValueError: there is no secret, or one is too short. The text does not show it.

    Example: ``Signer(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])``.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("expected a secret, got none")
        self._keys = [_key(secret) for secret in secrets]

    def headers(self, id_: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The headers that go with a request.

        Args:
            id_: the same for each attempt to send the same thing.
            timestamp: now, in seconds since 1970.
        """
        content = b"%b.%d.%b" % (id_.encode(), timestamp, body)
        return {
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join([_signature(key, content) for key in self._keys]),
        }


def _signature(key: bytes, content: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    key = secret.encode()
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"expected base64 behind {_PREFIX}") from None
    if len(key) < SECRET_MIN_BYTES:
        raise ValueError(f"expected secrets of {SECRET_MIN_BYTES} bytes or more")
    return key
