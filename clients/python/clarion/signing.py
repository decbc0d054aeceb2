"""Signs tokens with a shared secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

_HEAD: Final = b'{"alg":"HS256","typ":"JWT"}'


def sign_hs256(claims: Mapping[str, object], secret: str) -> str:
    """A JSON Web Token (RFC 7519), signed with HS256. Claims that are None are left out."""
    present = {name: value for name, value in claims.items() if value is not None}
    signed = _encode(_HEAD) + b"." + _encode(msgspec.json.encode(present))
    signature = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return (signed + b"." + _encode(signature)).decode()


def _encode(data: bytes) -> bytes:
    """Base64 for URLs, without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
