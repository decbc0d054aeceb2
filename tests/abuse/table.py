"""The kinds of hostile clients: one row each; what each does stands in a file of its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.abuse.attack import Attack
from tests.abuse.kinds import (
    addresses,
    announced,
    bodies,
    crowds,
    extensions,
    floods,
    fragments,
    handshakes,
    heads,
    inboxes,
    line_ends,
    messages,
    packets,
    resumes,
    said,
    sessions,
    targets,
    tokens,
    trailers,
    unauthenticated,
    unread,
    unread_resumes,
    upgrades,
    worst,
)


@dataclass(frozen=True)
class Kind:
    """One kind.

    Attributes:
        history: what `all` holds before, as (events, bytes of each).
        crowds: it takes all the connections that there are: newcomers may be turned away.
    """

    name: str
    attack: Callable[[Attack], Awaitable[None]]
    history: tuple[int, int] = (0, 0)
    crowds: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("heads", heads.attack),
        Kind("bodies", bodies.attack),
        Kind("trailers", trailers.attack),
        Kind("extensions", extensions.attack),
        Kind("targets", targets.attack),
        Kind("line_ends", line_ends.attack),
        Kind("handshakes", handshakes.attack),
        Kind("addresses", addresses.attack),
        Kind("upgrades", upgrades.attack),
        Kind("floods", floods.attack),
        Kind("fragments", fragments.attack),
        Kind("messages", messages.attack),
        Kind("packets", packets.attack),
        Kind("sessions", sessions.attack),
        Kind("said", said.attack),
        Kind("unread", unread.attack),
        Kind("unread_resumes", unread_resumes.attack, history=(9_900, 1_000)),
        Kind("resumes", resumes.attack, history=(3_000, 60_000)),
        Kind("inboxes", inboxes.attack, history=(9_900, 1_000)),
        Kind("worst", worst.attack, history=(6_000, 1_000), crowds=True),
        Kind("announced", announced.attack),
        Kind("unauthenticated", unauthenticated.attack),
        Kind("tokens", tokens.attack),
        Kind("crowds", crowds.attack, crowds=True),
    )
}
