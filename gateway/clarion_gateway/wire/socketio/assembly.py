"""Joins a packet with the binary messages that belong to it. No I/O.

The attachments of a packet follow it at once and in order. Their place in the arguments is held by
``{"_placeholder":true,"num":<index>}``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from clarion_gateway.wire.messages import Malformed
from clarion_gateway.wire.socketio import packets
from clarion_gateway.wire.socketio.packets import Packet

_PLACEHOLDER: Final = b'"_placeholder"'
_MARK: Final = "_placeholder"


class Assembly:
    """The packet of one session that is coming in.

    A packet with its attachments must not exceed ``max_bytes``.

    Attributes:
        held_bytes: memory of the packet that is not whole yet.
    """

    __slots__ = ("_attachments", "_max_bytes", "_packet", "held_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._packet: Packet | None = None
        self._attachments: list[bytes] = []
        self.held_bytes = 0

    def text(self, text: bytes) -> Packet | None:
        """Take the text of a message.

        Returns:
            The packet if it is whole. None: attachments must follow.

        Raises:
            Malformed: it is no packet, or attachments of an earlier one are due.
        """
        if self._packet is not None:
            raise Malformed("expected a binary message: attachments are due")
        packet = packets.decode(text)
        if not packet.attachments:
            return packet
        self._packet = packet
        self.held_bytes = len(text)
        return None

    def binary(self, data: bytes) -> Packet | None:
        """Take a binary message.

        Returns:
            The packet, with its attachments in their places, if this was the last one.

        Raises:
            Malformed: none is due, the message is too large, or a placeholder names no attachment.
        """
        packet = self._packet
        if packet is None:
            raise Malformed("expected a text message: no attachment is due")
        self.held_bytes += len(data)
        if self.held_bytes > self._max_bytes:
            raise Malformed(f"expected messages of at most {self._max_bytes} bytes")
        self._attachments.append(data)
        if len(self._attachments) < packet.attachments:
            return None
        attachments = self._attachments
        self.drop()
        return msgspec.structs.replace(packet, arguments=_filled(packet.arguments, attachments))

    def drop(self) -> None:
        """Forget the packet that is not whole."""
        self._packet = None
        self._attachments = []
        self.held_bytes = 0


def _filled(arguments: Sequence[msgspec.Raw], attachments: Sequence[bytes]) -> list[msgspec.Raw]:
    """Put the attachments into their places, as strings in base64: JSON has no bytes.

    msgspec and pydantic give them back as `bytes` where a handler's types say so.
    """
    encoded = [base64.b64encode(attachment).decode() for attachment in attachments]
    filled = []
    for argument in arguments:
        if _PLACEHOLDER not in bytes(argument):
            filled.append(argument)
            continue
        try:
            value = _replaced(msgspec.json.decode(argument), encoded)
            filled.append(msgspec.Raw(msgspec.json.encode(value)))
        except RecursionError:
            raise Malformed("expected JSON that is nested less deeply") from None
        except msgspec.MsgspecError as error:
            raise Malformed(str(error)) from None
    return filled


def _replaced(value: Any, attachments: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_replaced(each, attachments) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get(_MARK) is True:
        index = value.get("num")
        if type(index) is not int or not 0 <= index < len(attachments):
            raise Malformed("expected placeholders of attachments that the packet has")
        return attachments[index]
    return {name: _replaced(each, attachments) for name, each in value.items()}
