"""`clarion_gateway.wire.socketio.recovery`: pids of one user, and events with their offsets."""

from __future__ import annotations

import json
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import ALL
from clarion_contract.events.event import Event, InvalidPosition
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import TopicsHeard, Welcome
from clarion_gateway.wire.parts import Parts
from clarion_gateway.wire.socketio.recovery import RecoverableFormat, Recovery, read_offset
from tests.gateway.recorder import event, frames_of

IDS = st.from_regex(r"[A-Za-z0-9_-]{16}", fullmatch=True)
STARTS = st.integers(0, 10**16 - 1)
USERS = st.none() | st.text(min_size=1)


def recovery(key: bytes | None = b"k" * 32) -> Recovery:
    made = Recovery()
    made.key = key
    return made


def told(data: bytes) -> list[str]:
    return [bytes(frame.data).decode() for frame in frames_of(data)]


@given(IDS, STARTS, USERS, USERS)
def test_a_pid_is_read_by_any_pod_and_for_its_user_only(
    connection: str, start: int, user: str | None, other: str | None
) -> None:
    pid = recovery().pid(connection, user, start)
    assert pid is not None
    assert recovery().read(pid, user) == (connection, start)
    if other != user:
        assert recovery().read(pid, other) is None
    assert recovery(secrets.token_bytes(32)).read(pid, user) is None
    assert recovery(None).read(pid, user) is None
    assert recovery(None).pid(connection, user, start) is None


@given(IDS, STARTS, st.data())
def test_no_changed_character_passes(connection: str, start: int, data: st.DataObject) -> None:
    pid = recovery().pid(connection, "alice", start)
    assert pid is not None
    index = data.draw(st.integers(0, len(pid) - 1))
    character = data.draw(st.sampled_from("0A.-_~ ").filter(lambda each: each != pid[index]))
    forged = pid[:index] + character + pid[index + 1 :]
    assert recovery().read(forged, "alice") is None


@given(st.text())
def test_any_text_may_come_as_a_pid(text: str) -> None:
    assert recovery().read(text, None) is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.1", "a.1.", "a.x.y", "a" * 100_000, "\ud800.1.x"]
)
def test_what_is_no_pid_recovers_nothing(text: str) -> None:
    assert recovery().read(text, "alice") is None


def test_events_end_with_their_offset_and_nothing_else_ends_with_a_string() -> None:
    """A client takes a string at the end of any event for its offset."""
    wire_format = RecoverableFormat("socketio", frames.text, recovery())
    assert told(wire_format.event(event(17, type_="tick", data=b'"text"'))) == [
        '42["tick","text","17"]'
    ]
    assert told(wire_format.event(event(17, type_="connect"))) == ['42["$connect",{},"17"]']
    for data, text in ((b"[1,2]", '42["tick",1,2,"17"]'), (b"null", '42["tick","17"]')):
        arguments = Event(17, 0, ALL, "tick", data, arguments=True)
        assert told(wire_format.event(arguments)) == [text]
    assert told(wire_format.gap(18)) == ['42["$gap",{"id":"18"},"18"]']
    assert told(wire_format.message("news", b' "text"')) == ['42["news", "text",null]']
    assert told(wire_format.message("news", b"{}")) == ['42["news",{}]']
    several = wire_format.message("news", b"", Parts(b'1,"text"'))
    assert told(several) == ['42["news",1,"text",null]']
    for message in told(wire_format.error(b"", "closed", "no")):
        assert not isinstance(json.loads(message[2:])[-1], str)


def test_offsets_say_whether_redis_holds_topics() -> None:
    plain = RecoverableFormat("socketio", frames.text, recovery())
    wire_format = plain.with_topics
    assert wire_format.with_topics is wire_format
    assert told(wire_format.event(event(17, type_="tick"))) == ['42["tick",{},"17+"]']
    assert told(wire_format.event(Event(17, 0, ALL, "tick", b"null", arguments=True))) == [
        '42["tick","17+"]'
    ]
    assert told(wire_format.gap(18)) == ['42["$gap",{"id":"18"},"18+"]']
    assert told(wire_format.subscribed(b"7", 19, TopicsHeard(["a"]))) == [
        '42["$offset","19+"]',
        '437[{"topics":["a"]}]',
    ]
    assert read_offset("17") == (17, False)
    assert read_offset("17+") == (17, True)
    for text in ("", "+", "17++", "+17", "x"):
        with pytest.raises(InvalidPosition):
            read_offset(text)


def test_the_same_pid_says_recovered_and_another_one_not() -> None:
    pids = recovery()
    wire_format = RecoverableFormat("socketio", frames.text, pids)

    def pid_of(resumed: bool | None, heard: TopicsHeard | None = None) -> str:
        welcome = Welcome("c-1", "alice", "pod-1", 70, resumed, 60, 25, heard, "as before")
        (text,) = told(wire_format.welcome(welcome))
        fields = json.loads(text[2:])
        assert fields["sid"] == "c-1"
        return str(fields["pid"])

    assert pid_of(True) == "as before"
    assert pid_of(True, TopicsHeard(["a"])) == "as before"
    fresh = pids.pid("c-1", "alice", 70)
    assert pid_of(False) == pid_of(None) == fresh
    assert pid_of(True, TopicsHeard(["a"], not_resumed=["a"])) == fresh, "not all of it"


def test_without_a_key_there_is_no_pid() -> None:
    wire_format = RecoverableFormat("socketio", frames.text, recovery(None))
    (text,) = told(wire_format.welcome(Welcome("c-1", None, "pod-1", 7, None, None, 25)))
    assert text == '40{"sid":"c-1"}'
