"""What clients say, whatever their wire format: the values that every format decodes into."""

from __future__ import annotations

from typing import Literal

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message for one of the application's handlers.

    Attributes:
        type: which handler it is for.
        data: JSON, as the client wrote it.
        ref: by which the client finds the answer: the format's own bytes, given back to its
            ``reply`` or ``error`` as they are.
    """

    type: str
    data: bytes
    ref: bytes


class Authenticate(msgspec.Struct, frozen=True, gc=False):
    """Log in, refresh (a token of the same user) or log out.

    Attributes:
        token: a JWT; None logs out.
        ref: as in `Message`.
    """

    token: str | None
    ref: bytes


class Malformed(ValueError):
    """A message that is not of the format; its text says what was expected."""

    code: Literal["malformed"] = "malformed"
