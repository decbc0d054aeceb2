"""The messages of a gateway, as far as the client reads them (docs/protocol.md)."""

from __future__ import annotations

from typing import Any

import msgspec


class RefusedTopic(msgspec.Struct):
    """A topic that the application refuses, and why."""

    topic: str
    code: str = ""
    message: str = ""


class ServerMessage(msgspec.Struct):
    """A message of any kind. Unknown kinds and fields are ignored: more may be added."""

    kind: str
    id: str = ""
    connection: str = ""
    user: str | None = None
    pod: str = ""
    resumed: bool | None = None
    expires_in: float | None = None
    ping_interval: float | None = None  # gateways of 0.1 send none
    topics: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    refused: tuple[RefusedTopic, ...] = ()
    not_resumed: tuple[str, ...] = ()
    audience: str = ""
    topic: str | None = None
    type: str = ""
    time: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    ref: Any = None
    code: str = ""
    message: str = ""
    after_ms: float = 0
    reason: str = ""
    events: tuple[msgspec.Raw, ...] = ()
    messages: str = ""  # of an event stream's `welcome`: `post`


_decoder = msgspec.json.Decoder(ServerMessage)


class NotAGateway(ValueError):
    """A message that no gateway of Clarion sends."""


def read_message(text: str | bytes) -> ServerMessage:
    """Decode a message.

    Raises:
        NotAGateway: it is not a JSON object with a ``kind``.
    """
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError as error:
        raise NotAGateway(f"expected a message of a Clarion gateway: {error}") from None
