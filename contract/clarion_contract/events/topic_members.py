"""The members of a topic: what one pod holds, and what all pods hold together. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

PRESENCE_CHANGED: Final = "clarion.presence"
"""The type of the event by which a pod tells the others that its entry for a topic has changed. It
has no history, and no client gets it.
"""


class TopicEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of a topic on one pod.

    Attributes:
        connections: that receive the topic, those of anonymous clients included.
        users: number of users among them.
        members: these users, in order; None: they are more than the topic's rule names.
    """

    connections: int
    users: int
    members: tuple[str, ...] | None = None


class TopicMembers(msgspec.Struct, frozen=True):
    """The members of a topic on all pods together.

    Attributes:
        members: None: they are too many to be named.
        users: if they are too many, a user with connections to two pods counts twice.
    """

    connections: int
    users: int
    members: tuple[str, ...] | None

    @classmethod
    def of(cls, entries: Iterable[TopicEntry], max_members: int) -> TopicMembers:
        """Join the entries of all pods."""
        found = list(entries)
        connections = sum(entry.connections for entry in found)
        named = [entry.members for entry in found if entry.members is not None]
        if len(named) == len(found):
            members = tuple(sorted({user for names in named for user in names}))
            shown = members if len(members) <= max_members else None
            return cls(connections, len(members), shown)
        return cls(connections, sum(entry.users for entry in found), None)
