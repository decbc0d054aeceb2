"""The HTTP request that asks for a connection, WebSocket or SSE alike, and how it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_plus

import msgspec

from clarion_contract.service.serving import RESPONSE_HEADERS
from clarion_gateway.clients.admission import Opening
from clarion_gateway.wire.native import BEARER_PREFIX

_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """What a transport needs of a request.

    Attributes:
        query: without the question mark.
        headers: names in lower case, in order.
    """

    path: str
    query: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def offered_subprotocols(self) -> list[str]:
        """The values of ``Sec-WebSocket-Protocol`` (RFC 6455, section 11.3.4), in order."""
        return [
            offer.strip()
            for key, value in self.headers
            if key == "sec-websocket-protocol"
            for offer in value.split(",")
            if offer.strip()
        ]

    def opening(self) -> Opening:
        """Token and position: from the header or the subprotocol before the query.

        ``Authorization`` counts first, then ``clarion.bearer.<jwt>``, then ``?token=``.
        """
        fields = _fields(self.query)
        token = self._bearer() or fields.get("token")
        since = self.header("last-event-id") or fields.get("since")
        return Opening(token, since, fields.get("connection"))

    def _bearer(self) -> str | None:
        authorization = self.header("authorization")
        if authorization is not None and authorization[: len(_BEARER)].lower() == _BEARER:
            return authorization[len(_BEARER) :].strip()
        for offer in self.offered_subprotocols:
            if offer.startswith(BEARER_PREFIX):
                return offer.removeprefix(BEARER_PREFIX)
        return None


def refusal(status: int, detail: str, *, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A whole HTTP response that refuses a request: a problem document (RFC 9457)."""
    title = HTTPStatus(status).phrase
    body = msgspec.json.encode(
        {"type": "about:blank", "title": title, "status": status, "detail": detail}
    )
    lines = [
        f"HTTP/1.1 {status} {title}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in RESPONSE_HEADERS.items()),
        "connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _fields(query: str) -> dict[str, str]:
    """The first value of each field that has one. `parse_qs` costs three times as much."""
    fields: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if value:
            fields.setdefault(unquote_plus(name), unquote_plus(value))
    return fields
