"""The bytes of an event stream as messages of a gateway. It does no I/O.

The format is that of https://html.spec.whatwg.org/multipage/server-sent-events.html, as gateways
write it (docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from clarion.client.connection import End
from clarion.client.messages import NotAGateway

_OWN: Final = "$"
_ERROR: Final = "$error"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_json: Final = msgspec.json.Encoder()


class StreamReader:
    """Takes bytes and gives texts of messages, each as on a WebSocket.

    Attributes:
        end: why the stream will end, as far as it has said.
    """

    def __init__(self) -> None:
        self.end = End(0, "connection lost")
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, data: bytes) -> Iterator[str]:
        """The messages that are whole with these bytes.

        Raises:
            NotAGateway: no gateway writes that.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode(errors="replace")
            if line:
                self._take(line)
            elif self._fields:
                fields, self._fields = self._fields, {}
                text = self._message(fields)
                if text is not None:
                    yield text

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in self._fields:
            value = f"{self._fields['data']}\n{value}"
        self._fields[name] = value

    def _message(self, fields: dict[str, str]) -> str | None:
        """The text of the message in a block; None: it is a comment, or says how it ends."""
        retry = fields.get("retry", "")
        if retry.isdecimal():
            self.end = End(self.end.code, self.end.reason, int(retry) / 1000)
        name = fields.get("event")
        if name is None:
            return None
        if name == _ERROR and "ref" not in _own(fields):  # with one, it answers a message
            code, reason = (str(_own(fields).get(key, "")) for key in ("code", "message"))
            self.end = End(code, reason or code, self.end.after_seconds)
            return None
        if name.startswith(_OWN):
            known = {"kind": name.removeprefix(_OWN), "id": fields.get("id", "")}
            return _json.encode({**_own(fields), **known}).decode()
        return _json.encode(_of_application(name, fields)).decode()


def _own(fields: dict[str, str]) -> dict[str, Any]:
    """The data of one of the gateway's own messages."""
    try:
        return msgspec.json.decode(fields.get("data") or "{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise NotAGateway(f"expected a message of a Clarion gateway: {error}") from None


def _of_application(type_: str, fields: dict[str, str]) -> dict[str, Any]:
    """The fields of an event, or of a message to this connection: that one moves no position."""
    data = msgspec.Raw(fields.get("data", "null").encode())
    if "id" not in fields:
        return {"kind": "message", "type": type_, "data": data}
    topic = fields.get("topic")
    audience = {} if topic is None else {"audience": "topic", "topic": topic}
    known = {"kind": "event", "id": fields["id"], "type": type_, "time": _time(fields["id"])}
    return {**known, **audience, "data": data}


def _time(id_: str) -> str:
    """The time that an id contains: microseconds since 1970."""
    try:
        moment = _EPOCH + timedelta(microseconds=int(id_))
    except (ValueError, OverflowError):
        raise NotAGateway(f"expected the id of an event, got {id_[:40]!r}") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
