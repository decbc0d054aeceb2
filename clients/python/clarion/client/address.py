"""The addresses of a gateway's socket and of its event stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_WEBSOCKET: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_HTTP: Final = {"ws": "http", "wss": "https"}
_STREAM: Final = "/sse"
OF_THE_CLIENT: Final = frozenset({"topic", "since", "connection"})
"""The names in a query that the client sets itself."""


def websocket_url(url: str) -> str:
    """The address of a gateway's socket: ``http://host:8001`` becomes ``ws://host:8001/ws``.

    A path is taken as that of the socket, unless it ends with a slash: ``http://host/realtime/``
    becomes ``ws://host/realtime/ws``. The address of the event stream
    means that of the socket beside it.

    Raises:
        ValueError: the URL is not one of http(s) or ws(s).
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in _WEBSOCKET and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"expected a gateway's URL like http://127.0.0.1:8001, got {url!r}")
    path = parts.path or "/"
    if path.endswith(("/", _STREAM)):
        path = f"{path.removesuffix('sse')}ws"
    return urlunsplit((_WEBSOCKET[parts.scheme], parts.netloc, path, parts.query, ""))


def event_stream_url(url: str) -> str:
    """The address of the event stream beside a socket: ``ws://host/ws?topic=a`` becomes
    ``http://host/sse?topic=a``."""
    parts = urlsplit(url)
    path = f"{parts.path.rpartition('/')[0]}{_STREAM}"
    return urlunsplit(parts._replace(scheme=_HTTP[parts.scheme], path=path))


def with_query(url: str, topics: Sequence[str], since: str | None, connection: str | None) -> str:
    """The address with what the client asks for: its topics, and the position to resume from."""
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query) if pair[0] not in OF_THE_CLIENT - {"topic"}]
    query += [("topic", topic) for topic in topics]
    if since is not None:
        query.append(("since", since))
        if connection is not None:
            query.append(("connection", connection))
    return urlunsplit(parts._replace(query=urlencode(query)))
