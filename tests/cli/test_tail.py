"""How `clarion tail` shows messages."""

from __future__ import annotations

import json

from clarion_cli.follower import Message
from clarion_cli.tail import describe_event, notice_of, one_line
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
    fields = {
        "id": "1", "audience": "user", "type": "order.updated",
        "time": "2026-01-02T03:04:05.678901Z", "data": {"id": 42},
    }  # fmt: skip
    assert describe_event(fields).plain == '03:04:05.678  user           order.updated  {"id":42}'


def message(kind: str, **fields: object) -> Message:
    return Message("", {"kind": kind, **fields})


def test_says_when_events_may_be_missing() -> None:
    lost = message("welcome", user=None, pod="g", resumed=False)
    assert notice_of(lost) == "connected to g as anonymous, NOT resumed: events may be missing"
    assert "events before this may be missing" in str(notice_of(message("gap", id="1")))


def test_says_nothing_of_what_needs_no_notice() -> None:
    assert notice_of(message("identity", user="alice")) is None


def test_a_user_and_a_token_exclude_each_other(clarion: Clarion) -> None:
    assert "exclude each other" in clarion.fails("tail", "--user", "alice", CLARION_TOKEN="t")


def test_a_url_that_is_none_is_refused(clarion: Clarion) -> None:
    assert "expected a gateway's URL like" in clarion.fails("tail", "--url", "8001")


def test_topics_need_a_user(clarion: Clarion) -> None:
    assert "--topic needs --user or CLARION_TOKEN" in clarion.fails("tail", "--topic", "news")


def test_says_which_topics_are_received_and_which_are_not() -> None:
    fields = {"pod": "p", "user": "alice", "resumed": True, "topics": ["a", "b"]}
    told = notice_of(message("welcome", **fields, forbidden=["c"], not_resumed=["b"]))
    assert told == (
        "connected to p as alice, resumed; topics: a, b; "
        "NOT resumed, events may be missing: b; not granted by the token: c"
    )
