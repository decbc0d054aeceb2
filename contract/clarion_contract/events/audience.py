"""The recipients of an event, and the name of the stream that carries it.

Pure values, no I/O. A stream name is safe inside the hash tag of a Redis key, whatever characters
the user id holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

USER_ID_MAX_BYTES: Final = 256

AudienceKind = Literal["all", "authenticated", "user"]

_USER_PREFIX: Final = "user:"
# In addition to letters, digits and "_.-~": common in user ids, no meaning in a Redis hash tag.
_SAFE: Final = "@:+"


class InvalidUserId(ValueError):
    """A user id that cannot name a stream: empty, too long or not encodable as UTF-8."""


@dataclass(frozen=True, slots=True)
class Audience:
    """The recipients of an event: all connections, all authenticated ones, or one user's."""

    kind: AudienceKind
    user: str | None = None

    @property
    def stream(self) -> str:
        """The name of the audience's stream: ``all``, ``authenticated`` or ``user:<encoded id>``.

        Braces, spaces and everything outside ASCII are percent-encoded (RFC 3986, section 2.1), so
        that no user id can break out of its Redis hash tag.
        """
        if self.user is None:
            return self.kind
        return _USER_PREFIX + quote(self.user, safe=_SAFE)


ALL: Final = Audience("all")
AUTHENTICATED: Final = Audience("authenticated")


def user_audience(user: str) -> Audience:
    """The audience of one user, after checking the id with `check_user_id`."""
    return Audience("user", check_user_id(user))


def check_user_id(user: str) -> str:
    """Return ``user`` unchanged when it can name a stream.

    Raises:
        InvalidUserId: empty, longer than 256 bytes of UTF-8, or holding a lone surrogate.
    """
    try:
        size = len(user.encode())
    except UnicodeEncodeError:
        raise InvalidUserId("expected a user id of valid Unicode, got a lone surrogate") from None
    if not 1 <= size <= USER_ID_MAX_BYTES:
        raise InvalidUserId(
            f"expected a user id of 1 to {USER_ID_MAX_BYTES} bytes in UTF-8, got {size} bytes"
        )
    return user
