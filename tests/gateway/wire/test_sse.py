"""`clarion_gateway.wire.sse`, read by a parser that follows the HTML standard, section 9.2.6."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import TYPE_PATTERN
from clarion_gateway.wire.format import Welcome
from clarion_gateway.wire.sse import SSE
from tests.gateway.json_values import written
from tests.gateway.recorder import AUDIENCES, event

IDS = st.integers(1, 4_102_444_800_000_000)


@dataclass
class EventSource:
    """A browser's EventSource, as far as parsing is concerned."""

    events: list[tuple[str, str, str]] = field(default_factory=list)  # type, data, last event id
    last_event_id: str = ""
    reconnection_ms: int | None = None
    _type: str = ""
    _data: str = ""
    _id: str = ""

    def read(self, stream: bytes) -> EventSource:
        text = stream.decode("utf-8").removeprefix("\ufeff")
        lines = re.split(r"\r\n|\n|\r", text)
        for line in lines[:-1]:  # what follows the last line end is no line yet
            self._line(line)
        assert lines[-1] == "", "the last block is not complete"
        return self

    def _line(self, line: str) -> None:
        if line == "":
            self._dispatch()
            return
        if line.startswith(":"):
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            self.reconnection_ms = int(value)

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        data, type_ = self._data, self._type
        self._data = self._type = ""
        if data:
            self.events.append((type_ or "message", data.removesuffix("\n"), self.last_event_id))


@given(IDS, st.sampled_from(AUDIENCES), st.from_regex(TYPE_PATTERN, fullmatch=True), written())
def test_an_event_reaches_an_event_source(
    id_: int, audience: Audience, type_: str, document: tuple[object, bytes]
) -> None:
    """Equal as JSON whatever line ends the producer used; the id becomes Last-Event-ID."""
    value, data = document
    stream = SSE.event(event(id_, audience, type_=type_, data=data))
    ((got_type, got_data, last_event_id),) = EventSource().read(stream).events
    assert (got_type, json.loads(got_data), last_event_id) == (type_, value, str(id_))


def test_an_event_of_a_topic_names_it_where_an_event_source_does_not_look() -> None:
    stream = SSE.event(event(7, Audience("topic", "order.42"), data=b"1"))
    assert stream == b"id: 7\nevent: tick\ntopic: order.42\ndata: 1\n\n"
    assert EventSource().read(stream).events == [("tick", "1", "7")]


@pytest.mark.parametrize("audience", AUDIENCES, ids=str)
def test_an_event_of_another_audience_carries_nothing_more(audience: Audience) -> None:
    assert SSE.event(event(7, audience, data=b"1")) == b"id: 7\nevent: tick\ndata: 1\n\n"


@given(st.lists(written(), max_size=5))
def test_events_joined_in_one_buffer_stay_apart(documents: list[tuple[object, bytes]]) -> None:
    stream = b"".join(SSE.event(event(i + 1, data=d)) for i, (_, d) in enumerate(documents))
    events = EventSource().read(stream).events
    assert [json.loads(data) for _, data, _ in events] == [value for value, _ in documents]
    assert [id_ for _, _, id_ in events] == [str(i + 1) for i in range(len(documents))]


@given(st.text() | st.none(), st.booleans() | st.none(), IDS)
def test_welcome_gives_a_position_before_the_first_event(
    user: str | None, resumed: bool | None, id_: int
) -> None:
    source = EventSource().read(SSE.welcome(Welcome("c-1", user, "pod-1", id_, resumed, None, 25)))
    ((type_, data, last_event_id),) = source.events
    assert (type_, last_event_id) == ("$welcome", str(id_))
    assert json.loads(data) == {
        "connection": "c-1",
        "user": user,
        "pod": "pod-1",
        "resumed": resumed,
        "expires_in": None,
        "ping_interval": 25,
    }


@given(st.text())
def test_an_error_survives_any_text(message: str) -> None:
    ((type_, data, _),) = EventSource().read(SSE.error(None, "expired", message)).events
    assert (type_, json.loads(data)) == ("$error", {"code": "expired", "message": message})


def test_reconnect_sets_the_browsers_own_delay() -> None:
    source = EventSource().read(SSE.reconnect(750, "draining"))
    assert source.reconnection_ms == 750
    assert source.events == [("$reconnect", '{"after_ms":750,"reason":"draining"}', "")]


def test_a_gap_moves_the_position() -> None:
    assert EventSource().read(SSE.gap(42)).events == [("$gap", "{}", "42")]


def test_a_visible_ping_is_an_event_that_moves_no_position() -> None:
    stream = SSE.ping + SSE.event(event(1)) + SSE.visible_ping + SSE.event(event(2))
    source = EventSource().read(stream)
    assert [(type_, id_) for type_, _, id_ in source.events] == [
        ("$ping", ""), ("tick", "1"), ("$ping", "1"), ("tick", "2"),
    ]  # fmt: skip
    assert SSE.ping.startswith(b":\n"), "for clients that watch for comments"


def test_no_event_type_can_be_taken_for_one_of_ours() -> None:
    for name in ("$welcome", "$error", "$gap", "$reconnect", "$ping"):
        assert not re.match(TYPE_PATTERN, name)


def test_nobody_can_be_answered() -> None:
    with pytest.raises(AssertionError):
        SSE.reply(b"1", b"{}")
    with pytest.raises(AssertionError):
        SSE.identity(b"1", None, None)


def test_a_message_of_the_application_moves_no_position() -> None:
    assert SSE.message("note", b'{"a":\n1}') == b'event: note\ndata: {"a":\ndata: 1}\n\n'
    assert SSE.ask(b"1", "sure", b"1") == b""
