"""How `clarion tail` shows messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clarion.client import Connecting, Event, Open
from clarion_cli.tail import Notices, describe_event, describe_open, one_line
from tests.cli.clarion import Clarion


def test_an_event_is_one_line_and_its_numbers_stay_as_they_were() -> None:
    text = '{"kind":"event","data":{\n  "price": 1.10,\r\n  "big": 12345678901234567890123\n}}'
    line = one_line(text)
    assert "\n" not in line
    assert "\r" not in line
    assert "1.10" in line
    assert "12345678901234567890123" in line
    assert json.loads(line) == json.loads(text)


def test_people_see_time_audience_type_and_data() -> None:
    event = Event(
        "1", "order.updated", b'{"id": 42}', "2026-01-02T03:04:05.678901Z", "user", None, ""
    )
    assert describe_event(event).plain == '03:04:05.678  user           order.updated  {"id":42}'


def opened(**changes: Any) -> Open:
    return Open(**{
        "reason": "connected", "user": None, "connection": "c", "pod": "g", "resumed": None,
        **changes,
    })  # fmt: skip


def test_says_when_events_may_be_missing() -> None:
    lost = opened(resumed=False)
    assert describe_open(lost) == "connected to g as anonymous, NOT resumed: events may be missing"


def test_tells_each_connection_once_and_quietly_only_what_may_be_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    connecting = Connecting("lost", 1, 0.5, "ws://10.0.0.1/ws")
    notices, quiet = Notices(quiet=False), Notices(quiet=True)
    for status in (opened(), opened(user="alice"), connecting, opened(resumed=True)):
        notices.tell(status)
    assert capsys.readouterr().err.splitlines() == [
        "connected to g as anonymous",
        "lost; next attempt in 0.5 s",
        "connected to g as anonymous, resumed",
    ]
    for status in (opened(), connecting, opened(resumed=False)):
        quiet.tell(status)
    assert capsys.readouterr().err.splitlines() == [
        "lost; next attempt in 0.5 s",
        "connected to g as anonymous, NOT resumed: events may be missing",
    ]


def test_a_user_and_a_token_exclude_each_other(clarion: Clarion) -> None:
    assert "exclude each other" in clarion.fails("tail", "--user", "alice", CLARION_TOKEN="t")


def test_a_url_that_is_none_is_refused(clarion: Clarion) -> None:
    assert "expected a gateway's URL like" in clarion.fails("tail", "--url", "8001")


def test_topics_need_a_user(clarion: Clarion) -> None:
    assert "--topic needs --user or CLARION_TOKEN" in clarion.fails("tail", "--topic", "news")


def test_says_which_topics_are_received_and_which_are_not() -> None:
    status = opened(
        pod="p", user="alice", resumed=True,
        topics=("a", "b"), forbidden=("c",), not_resumed=("b",),
    )  # fmt: skip
    assert describe_open(status) == (
        "connected to p as alice, resumed; topics: a, b; "
        "NOT resumed, events may be missing: b; not granted by the token: c"
    )
