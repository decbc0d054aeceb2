"""The state of a client: one of three, each with a reason that can be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Connecting:
    """The client is not connected, and tries to be.

    Attributes:
        failures: attempts that failed since the last ``welcome``.
        retry_seconds: the pause before the next attempt; None: the attempt is under way.
        url: the gateway of the attempt that failed, or is under way.
    """

    reason: str
    failures: int
    retry_seconds: float | None
    url: str
    state: Literal["connecting"] = "connecting"


@dataclass(frozen=True, slots=True)
class Open:
    """Events arrive.

    Attributes:
        user: None: anonymous.
        connection: the gateway's id of the connection, for a producer's ``exclude``.
        pod: the gateway's name, for people only.
        resumed: everything since the last connection follows; None: there was none.
        topics: the topics that the client receives.
        forbidden: topics that it asked for and does not receive.
        not_resumed: of ``topics``: those of which events may be missing.
        transport: ``sse``: by server-sent events.
    """

    reason: str
    user: str | None
    connection: str
    pod: str
    resumed: bool | None
    topics: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    not_resumed: tuple[str, ...] = ()
    transport: Literal["websocket", "sse"] = "websocket"
    state: Literal["open"] = "open"


@dataclass(frozen=True, slots=True)
class Closed:
    """The client does not come back by itself.

    Attributes:
        code: see `clarion.client.ClosedError`.
    """

    reason: str
    code: int | str
    state: Literal["closed"] = "closed"


Status = Connecting | Open | Closed
