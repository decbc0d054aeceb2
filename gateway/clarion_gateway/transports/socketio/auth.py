"""The payload of a CONNECT, the option ``auth`` of clients: whom the connection speaks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from clarion_contract.events.event import InvalidPosition
from clarion_gateway.clients.opening import Opening, Recovered, Recovering
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.wire.socketio.recovery import Recovery, read_offset

_TOKEN: Final = "token"  # noqa: S105 - a name
_SCHEME: Final = "bearer "
# Fields of the payload that the gateway itself reads.
_OWN: Final = frozenset({_TOKEN, "pid", "offset", "recovery"})
_NULL: Final = b"null"
_TRUE: Final = b"true"

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
    auth = {name: value for name, value in (fields or {}).items() if name not in _OWN}
    opening = replace(request.opening(), since=None, resumes=None, auth=auth)
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


def asks_to_recover(fields: Mapping[str, msgspec.Raw] | None) -> bool:
    """Whether a client knows recovery, and wants it: ``auth.recovery`` is true."""
    return fields is not None and bytes(fields.get("recovery", _NULL)) == _TRUE


def has_pid(fields: Mapping[str, msgspec.Raw] | None) -> bool:
    """Whether a client wants to go on with a session of before."""
    return _text_in(fields, "pid") is not None


def recovering_of(
    fields: Mapping[str, msgspec.Raw] | None, recovery: Recovery
) -> Recovering | None:
    """The session that a client wants to go on with: ``pid`` and ``offset``. None: it begins anew.

    A client keeps its offset when it gets another pid. So one below the pid's position is of an
    earlier connection, and does not count.
    """
    pid = _text_in(fields, "pid")
    if pid is None:
        return None
    try:
        offset, has_topics = read_offset(_text_in(fields, "offset") or "0")
    except InvalidPosition:
        return None

    def read(user: str | None) -> Recovered | None:
        found = recovery.read(pid, user)
        if found is None:
            return None
        connection, start = found
        return Recovered(connection, max(start, offset), has_topics and offset >= start)

    return Recovering(pid, read)


def _text_in(fields: Mapping[str, msgspec.Raw] | None, name: str) -> str | None:
    try:
        return None if fields is None or name not in fields else _text.decode(fields[name])
    except msgspec.MsgspecError:
        return None
