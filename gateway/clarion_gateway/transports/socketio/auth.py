"""The payload of a CONNECT, the option ``auth`` of clients: whom the connection speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import msgspec

from clarion_gateway.clients.admission import Opening
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.transports.request import ConnectionRequest

_TOKEN: Final = "token"  # noqa: S105 - a name
_SCHEME: Final = "bearer "
_NULL: Final = b"null"

_text: msgspec.json.Decoder[str] = msgspec.json.Decoder(str)


def opening_of(fields: Mapping[str, msgspec.Raw] | None, request: ConnectionRequest) -> Opening:
    """The wishes of a client that sends a CONNECT.

    Its token is ``auth.token``, or else the one of the session's request. Many applications write
    ``Bearer`` before it, which is not taken for a part of it.

    Args:
        fields: the payload; None: there is none.
        request: the session's. A position in it does not count.

    Raises:
        Refused: the token is no string.
    """
    opening = replace(request.opening(), since=None, resumes=None)
    raw = None if fields is None else fields.get(_TOKEN)
    if raw is None or bytes(raw) == _NULL:
        return opening
    try:
        token = _text.decode(raw)
    except msgspec.MsgspecError:
        detail = "expected auth.token to be a string"
        raise Refused(close_codes.unauthenticated(detail)) from None
    if token[: len(_SCHEME)].lower() == _SCHEME:
        token = token[len(_SCHEME) :].strip()
    return replace(opening, token=token)
