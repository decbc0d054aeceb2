"""Messages from clients, decoded: every wire format decodes into these values.

`clarion_gateway.clients.inbox` takes them from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

NO_REF: Final = b"null"
"""The ref of a message that no client has asked for, and of one that came without a ref."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message for one of the application's handlers.

    Attributes:
        type: names the handler.
        data: JSON, as the client wrote it.
        ref: the bytes by which the client finds the answer. The gateway gives them unchanged to
            the format's ``reply`` or ``error``.
    """

    type: str
    data: bytes
    ref: bytes


class Posted(Message, frozen=True, gc=True):
    """A message that came by a request of its own, and not by its connection.

    Attributes:
        answer: takes the reply or error, as JSON of the native format; None: the connection has
            ended, and no handler has begun with the message.
    """

    answer: Callable[[bytes | None], None]


class Authenticate(msgspec.Struct, frozen=True, gc=False):
    """A client logs in, refreshes its token (for the same user) or logs out.

    Attributes:
        token: a JWT; None logs out.
        ref: as in `Message`.
    """

    token: str | None
    ref: bytes


class Subscribe(msgspec.Struct, frozen=True, gc=False):
    """A client asks for topics, beside those that it receives.

    Attributes:
        topics: names, as the client wrote them.
        ref: as in `Message`.
        last: so many of the newest events of each topic are to be in the answer; None: none.
        since: the events after this id are to be in the answer; None: none.
    """

    topics: tuple[str, ...]
    ref: bytes
    last: int | None = None
    since: str | None = None


class Unsubscribe(msgspec.Struct, frozen=True, gc=False):
    """A client gives topics up.

    Attributes:
        topics: names, as the client wrote them.
        ref: as in `Message`.
    """

    topics: tuple[str, ...]
    ref: bytes


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A client answers a question of the application.

    Attributes:
        ref: of the question.
        data: JSON.
        refusal: why the client cannot answer; None: it does.
    """

    ref: bytes
    data: bytes
    refusal: str | None = None


ClientMessage = Message | Authenticate | Subscribe | Unsubscribe
"""Everything that a client may say and that waits for its turn; an `Answer` does not."""


class Malformed(ValueError):
    """A message does not have the wire format's form. The text says what was expected."""

    code: Literal["malformed"] = "malformed"
