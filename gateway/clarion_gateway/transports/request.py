"""The HTTP request that asks for a connection, WebSocket or SSE alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from clarion_gateway.clients.admission import Opening

BEARER_PREFIX: Final = "clarion.bearer."
"""Of the subprotocol that carries a token, for browsers, which cannot send other headers."""

_BEARER: Final = "bearer"
_AFTER_SCHEME: Final = ("", " ", "\t")
_FIELD_OF_TOKEN: Final = "token"  # noqa: S105 - a name


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

        ``Authorization`` counts first, then ``clarion.bearer.<jwt>``, then ``?token=``. An empty
        token is a token: its sender meant to be somebody, and must not become anonymous.
        """
        fields = _fields(self.query)
        token = self._bearer()
        if token is None:
            token = fields.get(_FIELD_OF_TOKEN)
        since = self.header("last-event-id") or fields.get("since")
        return Opening(token, since, fields.get("connection"))

    def _bearer(self) -> str | None:
        authorization = self.header("authorization")
        if authorization is not None:
            token = authorization[len(_BEARER) :]
            if authorization[: len(_BEARER)].lower() == _BEARER and token[:1] in _AFTER_SCHEME:
                return token.strip(" \t")
        for offer in self.offered_subprotocols:
            if offer.startswith(BEARER_PREFIX):
                return offer.removeprefix(BEARER_PREFIX)
        return None


def _fields(query: str) -> dict[str, str]:
    """The first value of each field that has one; an empty token counts, see `opening`.

    `parse_qs` costs three times as much.
    """
    fields: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = unquote_plus(name)
        if value or name == _FIELD_OF_TOKEN:
            fields.setdefault(name, unquote_plus(value))
    return fields
