"""The HTTP request that asks for a connection, for WebSocket and SSE alike.

`clarion_gateway.transports.http` builds it, and a socket reads its token and position from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

import msgspec
from msgspec.structs import replace

from clarion_gateway.clients.opening import Opening
from clarion_gateway.clients.origins import forwarded_hosts
from clarion_gateway.clients.sessions import Sessions

BEARER_PREFIX: Final = "clarion.bearer."
"""Begins a subprotocol that carries a token: browsers can send a WebSocket no other header."""

_BEARER: Final = "bearer"
_AFTER_SCHEME: Final = ("", " ", "\t")
_FIELD_OF_TOPIC: Final = "topic"
_POSITIONS: Final = ("lastEventId", "Last-Event-ID", "since")
_FIELD_OF_TOKEN: Final = "token"  # noqa: S105 - a name


class ConnectionRequest(msgspec.Struct, frozen=True):
    """The parts of a request that a transport needs.

    Attributes:
        path: as it was sent, without the query.
        query: without the question mark.
        headers: (name, value) in the order in which they came; names in lower case.
        address: where the client is; None: not known.
    """

    path: str
    query: str
    headers: list[tuple[str, str]]
    address: str | None = None

    @staticmethod
    def decoded(
        path: bytes, query: bytes, headers: Iterable[tuple[bytes, bytes]]
    ) -> ConnectionRequest:
        """A request out of the bytes that came; headers' names in lower case."""
        return ConnectionRequest(
            path.decode("latin-1"),
            query.decode("latin-1"),
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
        )

    def packed(self) -> bytes:
        """The request in one piece, for a session that may need it again: a fifth of the memory."""
        first = [self.path, self.query, self.address or ""]
        lines = [*first, *(f"{name}:{value}" for name, value in self.headers)]
        return "\n".join(lines).encode("latin-1")

    @staticmethod
    def unpacked(packed: bytes) -> ConnectionRequest:
        """The request that `packed` has packed."""
        path, query, address, *lines = packed.decode("latin-1").split("\n")
        headers = [line.partition(":") for line in lines]
        pairs = [(name, value) for name, _, value in headers]
        return ConnectionRequest(path, query, pairs, address or None)

    def header(self, name: str) -> str | None:
        """The first value of a header; None: the request does not have it.

        Args:
            name: in lower case.
        """
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def values(self, name: str) -> list[str]:
        """All values of a header, by its name in lower case."""
        return [value for key, value in self.headers if key == name]

    def field(self, name: str) -> str | None:
        """The first value of a field in the query; None: the query does not have it."""
        return fields_of(self.query).get(name)

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
        """Read the token and the position that the client came with.

        The token is the first of these that the request has: the ``Authorization`` header, the
        subprotocol ``clarion.bearer.<jwt>``, the field ``?token=``. The position is the
        ``Last-Event-ID`` header, or else ``?since=``.

        An empty token counts as a token, so it is refused. Its sender meant to log in and must not
        become anonymous without notice.
        """
        fields, topics = _fields(self.query)
        token = self._bearer()
        if token is None:
            token = fields.get(_FIELD_OF_TOKEN)
        # A polyfill of EventSource adds its position to the query in which the page put ``since``.
        since = self.header("last-event-id") or next(
            (fields[name] for name in _POSITIONS if name in fields), None
        )
        return Opening(
            token,
            since,
            fields.get("connection"),
            self.address,
            topics=topics,
            last=fields.get("last"),
            query=self.query,
            headers=self.headers,
        )

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


def peer_of(transport: asyncio.Transport) -> str:
    """The address of a TCP connection's other side; empty: it is no internet address."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def located(sessions: Sessions, request: ConnectionRequest, peer: str) -> ConnectionRequest:
    """The request with the address of its client, by the word of proxies that are trusted.

    Args:
        peer: the address of the TCP connection's other side.
    """
    address = sessions.addresses.client(peer, request.values("x-forwarded-for"))
    return replace(request, address=address)


def refused_origin(sessions: Sessions, request: ConnectionRequest, peer: str) -> str | None:
    """Why the page that sends a request may not, for people; None: it may. A refusal is logged.

    Args:
        peer: the address of the TCP connection's other side.
    """
    origin = request.header("origin")
    if origin is None:
        return None
    host = request.header("host")
    hosts = forwarded_hosts(request.header("x-forwarded-host"), request.header("x-forwarded-port"))
    if hosts and not sessions.addresses.trusts(peer):
        hosts = []
    scheme = request.header("x-forwarded-proto")
    if sessions.origins.allows(origin, host, scheme=scheme, forwarded_hosts=hosts):
        return None
    return sessions.refused_origins.refuse(origin, host)


def fields_of(query: str) -> Mapping[str, str]:
    """The first value of each field in a query; fields without a value are left out."""
    fields, _ = _fields(query)
    return fields


@lru_cache(maxsize=4)
def _fields(query: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The first value of each field, and all values of ``topic``.

    Empty values are left out, except the token: see `opening`.

    `parse_qs` takes three times as long. A poll is asked for its fields twice in a row, and a
    client that has its token in the query sends it with each: hence the cache.
    """
    unquoted = _unquoted if "%" in query or "+" in query else str  # nearly always the latter
    fields: dict[str, str] = {}
    topics: list[str] = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = unquoted(name)
        if name == _FIELD_OF_TOPIC:
            topics.append(unquoted(value))
        elif (value or name == _FIELD_OF_TOKEN) and name not in fields:
            fields[name] = unquoted(value)
    return fields, tuple(topics)


def _unquoted(text: str) -> str:
    """`unquote_plus`, which looks at the text four times before it finds nothing to do."""
    return unquote_plus(text) if "%" in text or "+" in text else text
