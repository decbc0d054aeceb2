"""`clarion_gateway.wire.format`: what clients are told about the members of a topic."""

from __future__ import annotations

from typing import Any

import pytest

from clarion_contract.events.topic_members import TopicMembers
from clarion_gateway.wire.format import PresenceTold

ALICE = TopicMembers(1, 1, ("alice",))
TWICE = TopicMembers(2, 1, ("alice",))
BOTH = TopicMembers(2, 2, ("alice", "bob"))
CROWD = TopicMembers(9, 7, None)


@pytest.mark.parametrize(
    ("before", "now", "fields"),
    [
        (ALICE, ALICE, None),
        (CROWD, CROWD, None),
        (None, ALICE, {"users": 1, "connections": 1, "members": ("alice",)}),
        (ALICE, TWICE, {"users": 1, "connections": 2}),
        (ALICE, BOTH, {"users": 2, "connections": 2, "joined": ["bob"]}),
        (BOTH, ALICE, {"users": 1, "connections": 1, "left": ["bob"]}),
        (BOTH, CROWD, {"users": 7, "connections": 9, "members": None}),
        (CROWD, BOTH, {"users": 2, "connections": 2, "members": ("alice", "bob")}),
    ],
)
def test_changes_are_told_to_those_who_know_what_was_before(
    before: TopicMembers | None, now: TopicMembers, fields: dict[str, Any] | None
) -> None:
    told = PresenceTold.between("a", before, now)
    assert (told and told.fields) == (fields and {"topic": "a", **fields})
