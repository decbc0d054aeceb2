"""The whole source: a publisher with what producers write, on a real Redis."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from clarion_contract.bus.orders import ChangeSelectedTopics, DisconnectSelected
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.events.event import Event
from tests.publisher.service import Service
from tests.publisher.sources.socketio.conftest import Producer, Serve, reads, until

REFUSED = "clarion_publisher_socketio_refused_total"


def topic(name: str) -> Audience:
    return Audience("topic", name)


def first(service: Service, audience: Audience) -> Event:
    return until(lambda: service.published(audience))[0]


def test_events_of_the_stream_come_in_their_order(reader: Service, producer: Producer) -> None:
    for number in range(300):
        producer.broadcast("tick", {"n": number})
    events = until(lambda: len(found := reader.published(ALL)) >= 300 and found)
    assert [event.data for event in events] == [b'{"n": %d}' % number for number in range(300)]
    assert {event.type for event in events} == {"tick"}


@pytest.mark.parametrize("way", ["broadcast", "emit"])
def test_rooms_are_topics_and_each_socket_gets_the_first(
    reader: Service, producer: Producer, way: str
) -> None:
    send = getattr(producer, way)
    send("said", "hello", rooms=["a", "b"], **{"except": ["c", "AbCdEf0123456789-_x"]})
    in_a, in_b = first(reader, topic("a")), first(reader, topic("b"))
    assert in_a.data == in_b.data == b'"hello"'
    assert in_a.exclude == ",c,AbCdEf0123456789-_x,topic:c,topic:AbCdEf0123456789-_x"
    assert in_b.exclude == f"{in_a.exclude},topic:a"


@pytest.mark.parametrize("way", ["broadcast", "emit"])
def test_namespaces_have_topics_of_their_own(reader: Service, producer: Producer, way: str) -> None:
    send = getattr(producer, way)
    send("notice", nsp="/admin")
    send("notice", 1, 2, nsp="/admin", rooms=["7"])
    assert first(reader, topic("/admin")).data == b"null"
    assert first(reader, topic("/admin.7")).data == b"[1,2]"


def test_python_socketio(reader: Service, producer: Producer) -> None:
    common = {"method": "emit", "namespace": "/", "binary": False, "callback": None}
    producer.python(event="a", data=[None], room="r1", skip_sid="sid-1", **common)
    producer.python(event="b", data=[1, "2"], room=["r1", "r2"], skip_sid=None, **common)
    events = until(lambda: len(found := reader.published(topic("r1"))) == 2 and found)
    assert [(event.type, event.data, event.exclude) for event in events] == [
        ("a", b"null", ",sid-1,topic:sid-1"),
        ("b", b'[1,"2"]', None),
    ]
    assert first(reader, topic("r2")).exclude == ",topic:r1"


def test_rooms_may_be_users(serve: Serve, producer: Producer) -> None:
    with serve(socketio_user_rooms="user:") as service:
        reads(service, producer)
        producer.broadcast("mail", 1, rooms=["user:alice"])
        assert first(service, Audience("user", "alice")).type == "mail"


def test_a_volatile_event_has_no_history(reader: Service, producer: Producer) -> None:
    producer.broadcast("cursor", 1, rooms=["v"], flags={"volatile": True})
    producer.broadcast("after", 2, rooms=["v"])
    assert first(reader, topic("v")).type == "after"


def test_commands_are_orders(reader: Service, producer: Producer) -> None:
    opts = {"rooms": ["room-1"], "except": ["room-2"]}
    producer.add({"opts": opts, "rooms": ["room-3"]}, type_="4")
    producer.request(type=3, opts={"rooms": [], "except": []}, rooms=["room-3"])
    producer.request(nsp="/admin", type=4, opts={"rooms": ["7"], "except": []}, close=True)
    producer.python(method="enter_room", sid="sid-1", room="room-4", namespace="/")
    producer.python(method="close_room", room="room-4", namespace="/")
    orders: list[Any] = until(lambda: len(found := reader.orders()) == 5 and found)
    selected = {(type(each), each.any_of, each.none_of) for each in orders}
    ids = ("room-1", "topic:room-1"), ("room-2", "topic:room-2")
    assert selected == {
        (ChangeSelectedTopics, *ids),
        (ChangeSelectedTopics, ("all",), ()),
        (DisconnectSelected, ("7", "topic:%2Fadmin.7"), ()),
        (ChangeSelectedTopics, ("sid-1", "topic:sid-1"), ()),
        (ChangeSelectedTopics, ("room-4", "topic:room-4"), ()),
    }


def test_what_cannot_be_published_is_refused_and_harms_nothing(
    reader: Service, producer: Producer
) -> None:
    events = f"{producer.names.key}#/#"
    bad = {
        ("python", "pickle"): [pickle.dumps({"method": "emit"})],
        ("python", "malformed"): [b"{", b'{"method":"emit","event":"a","data":{}}', b"\xff" * 100],
        ("python", "binary"): [b'{"method":"emit","event":"a","data":[[],"AA=="],"binary":true}'],
        ("emitter", "malformed"): [b"\xc1garbage", b"", b"\x91" * 100_000, b"\x93\x01\x02\x03"],
    }
    for (name, _), messages in bad.items():
        channel = producer.names.channel if name == "python" else events
        for message in messages:
            producer.redis.publish(channel, message)
    producer.emit("a", b"bytes")
    producer.emit("a", nsp="nowhere")
    producer.broadcast("a", nsp="nowhere")
    producer.broadcast("bad name", 1)
    producer.broadcast("a", 1, rooms=["spaces are no topic"])
    producer.broadcast("a", 1, rooms=[f"r{number}" for number in range(1_001)])
    producer.broadcast("a", "x" * 300_000)
    producer.broadcast("a", "x" * 70_000)
    too_many = [f"r{number}" for number in range(1_001)]
    producer.request(type=2, opts={"rooms": ["a"], "except": []}, rooms=too_many)
    producer.add("{broken")
    producer.add("no base64!")
    producer.add(["half", "\ud83d"], type_="9")
    producer.redis.xadd(producer.names.stream, {"type": "3"})
    producer.add({"packet": {"data": ["lone", "\ud83d"], "nsp": "/"}, "opts": {}})
    producer.add({}, type_="1", uid="a-server")  # a heartbeat: nobody's fault
    producer.broadcast("good", 1, rooms=["last"])
    first(reader, topic("last"))
    expected = {
        ("python", "pickle"): 1, ("python", "malformed"): 3, ("python", "binary"): 1,
        ("emitter", "malformed"): 5, ("emitter", "binary"): 1,
        ("emitter", "too_many_rooms"): 1,
        ("stream", "malformed"): 5, ("stream", "invalid_event"): 2,
        ("stream", "too_many_rooms"): 1, ("stream", "too_large"): 1,
        ("stream", "data_too_large"): 1, ("stream", "unsupported"): 1,
    }  # fmt: skip

    def refused() -> dict[tuple[str, str], float]:
        return {
            (producer, reason): reader.metric(
                f'{REFUSED}{{producer="{producer}",reason="{reason}"}}'
            )
            for producer, reason in expected
        }

    until(lambda: refused() == expected, refused)
    assert reader.published(ALL) == []


def test_producers_may_do_no_more_than_their_scopes(serve: Serve, producer: Producer) -> None:
    with serve(socketio_scopes="publish:topic:chat.**") as service:
        until(lambda: service.metric("clarion_publisher_socketio_reading"))
        until(lambda: producer.redis.pubsub_numsub(producer.names.channel)[0][1])
        producer.python(method="emit", event="a", data=[1], namespace="/")
        producer.python(method="disconnect", sid="sid-1", namespace="/")
        producer.python(method="emit", event="a", data=[1], room="chat.1", namespace="/")
        first(service, topic("chat.1"))
        refused = f'{REFUSED}{{producer="python",reason="insufficient_scope"}}'
        assert service.metric(refused) == 2
        assert service.published(ALL) == service.orders() == []


def test_several_publishers_share_the_stream_and_double_nothing(
    serve: Serve, producer: Producer
) -> None:
    with serve(pod="one") as one:
        reads(one, producer)
        with serve(pod="two") as two:
            for number in range(50):
                producer.broadcast("tick", number, rooms=["shared"])
            one.stop()
            for number in range(50, 100):
                producer.broadcast("tick", number, rooms=["shared"])
            events = until(lambda: len(found := two.published(topic("shared"))) >= 100 and found)
            assert [int(event.data) for event in events] == list(range(100))
            reads(two, producer)
            assert two.published(topic("shared")) == events


def test_entries_from_the_time_without_a_publisher_are_published(
    serve: Serve, producer: Producer
) -> None:
    producer.broadcast("before", 0, rooms=["away"])
    with serve() as service:
        reads(service, producer)
    producer.broadcast("meanwhile", 1, rooms=["away"])
    with serve() as service:
        assert first(service, topic("away")).type == "meanwhile"


def test_entries_that_were_trimmed_are_counted_as_lost(serve: Serve, producer: Producer) -> None:
    with serve() as service:
        reads(service, producer)
        producer.broadcast("seen", 1, rooms=["trimmed"])
        first(service, topic("trimmed"))
    for number in range(20):
        producer.broadcast("tick", number, rooms=["trimmed"])
    producer.redis.xtrim(producer.names.stream, maxlen=15, approximate=False)
    with serve() as service:
        until(lambda: len(service.published(topic("trimmed"))) == 16)
        assert service.metric('clarion_publisher_socketio_lost_total{producer="stream"}') == 5
