"""The wishes of a client in its handshake, as its transport read them.

`clarion_gateway.clients.admission` fulfils them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec


class Recovered(NamedTuple):
    """An earlier connection, and how far its client is.

    Attributes:
        since: the position from which the client misses events.
        has_topics: whether Redis holds topics of the connection.
    """

    connection: str
    since: int
    has_topics: bool


@dataclass(frozen=True, slots=True)
class Recovering:
    """A client's wish to go on with an earlier connection, under the same id.

    Attributes:
        pid: the words of the client, for its `welcome`.
        read: returns the connection; None: it is not that user's.
    """

    pid: str
    read: Callable[[str | None], Recovered | None]


class Opening(msgspec.Struct, frozen=True):
    """The wishes of a client in its handshake.

    Attributes:
        token: a JWT; None for an anonymous connection.
        since: the id of the last event that the client has; None if it has none yet.
        resumes: the id of the connection on which the client had that event.
        address: where the client is; None: not known.
        topics: those that the client asks for.
        last: so many of the newest events of these, if the client does not resume.
        query: of the request, as it was sent.
        headers: of the request: (name, value), names in lower case.
        auth: more that the client said of itself, without the token: JSON by name.
        recovering: in place of ``since`` and ``resumes``; None: the client does not ask for it.
    """

    token: str | None
    since: str | None
    resumes: str | None = None
    address: str | None = None
    topics: tuple[str, ...] = ()
    last: str | None = None
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    auth: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    recovering: Recovering | None = None
