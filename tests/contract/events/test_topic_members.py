"""`clarion_contract.events.topic_members`: the entries of all pods, joined."""

from __future__ import annotations

import pytest

from clarion_contract.events.topic_members import TopicEntry, TopicMembers

ALICE = TopicEntry(2, 1, ("alice",))
BOTH = TopicEntry(2, 2, ("alice", "bob"))
CROWD = TopicEntry(9, 7, None)


@pytest.mark.parametrize(
    ("entries", "max_members", "expected"),
    [
        ((), 5, TopicMembers(0, 0, ())),
        ((BOTH, ALICE), 5, TopicMembers(4, 2, ("alice", "bob"))),
        ((BOTH, ALICE), 2, TopicMembers(4, 2, ("alice", "bob"))),
        ((BOTH, ALICE), 1, TopicMembers(4, 2, None)),
        ((ALICE, CROWD), 5, TopicMembers(11, 8, None)),
        ((TopicEntry(3, 0, ()),), 0, TopicMembers(3, 0, ())),
    ],
)
def test_users_are_counted_once_and_named_if_they_are_few(
    entries: tuple[TopicEntry, ...], max_members: int, expected: TopicMembers
) -> None:
    assert TopicMembers.of(entries, max_members) == expected
