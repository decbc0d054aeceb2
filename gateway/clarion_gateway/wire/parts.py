"""Arguments of a message that JSON alone cannot hold: several ones, and bytes. No I/O.

Formats without a form of their own for them, such as the native one, send the message's JSON: an
array of the arguments, with bytes in base64.
"""

from __future__ import annotations

from typing import Final

import msgspec

ATTACHMENTS_MAX: Final = 10
"""The most values of bytes in one message. Clients of Socket.IO refuse more."""


class Parts(msgspec.Struct, frozen=True, gc=False):
    """The arguments of a message.

    Attributes:
        arguments: JSON of each, with commas between them. In the place of bytes stands
            ``{"_placeholder":true,"num":<index of the attachment>}``.
        attachments: the bytes, in the order of their placeholders.
    """

    arguments: bytes
    attachments: tuple[bytes, ...] = ()
