"""`clarion_gateway.transports.socketio.polling`: heartbeats, on a clock that the test moves."""

from __future__ import annotations

from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio.heartbeat import Timing
from tests.fuzz.gateway import running_gateway
from tests.gateway.transports.socketio.polling_client import Client, head, post

PING = b"\r\n\r\n2"
CLOSE = b"\r\n\r\n1"
STEP_SECONDS = 0.01
LATE_SECONDS = 0.1


def seconds_to(client: Client, end: bytes) -> float:
    """The time until the gateway writes an answer that ends so."""
    written = client.gateway.transport.written
    length, before = len(written), client.gateway.loop.time()
    while len(written) == length:
        client.wait(STEP_SECONDS)
    assert written.endswith(end)
    return client.gateway.loop.time() - before


def test_heartbeats_as_short_as_half_a_second_are_kept_over_polling() -> None:
    """Within 100 ms, by the clock of the event loop."""
    interval, timeout = 0.3, 0.2
    with running_gateway() as gateway:
        client = Client(gateway, timing=Timing(interval, timeout))
        client.say(head("first", "0"))
        seconds_to(client, PING)  # the first interval is shortened, each session's by another time
        for number in range(1, 5):
            client.say(post("first", "3"))
            client.say(head("first", f"{number}"))
            assert interval - STEP_SECONDS <= seconds_to(client, PING) <= interval + LATE_SECONDS
        client.say(head("first", "none"))
        assert timeout - STEP_SECONDS <= seconds_to(client, CLOSE) <= timeout + LATE_SECONDS


def test_clients_that_hear_the_same_get_the_same_bytes() -> None:
    with running_gateway() as gateway:
        client = Client(gateway)
        client.say(head("first"))
        client.do("write", "first", 5)
        first = bytes(gateway.transport.written).rpartition(b"HTTP/1.1")[2]
        client.say(head("second"))
        client.do("write", "second", 5)
        assert bytes(gateway.transport.written).endswith(first)


def test_what_is_written_in_one_pass_leaves_in_one_answer() -> None:
    with running_gateway() as gateway:
        client = Client(gateway)
        client.say(head("first"))
        session = client.session("first")
        assert session is not None
        for number in range(3):
            gateway.loop.call_soon(session.connection.write, frames.text(b"4%d" % number))
        gateway.loop.settle()
        assert gateway.transport.written.endswith(b"\r\n\r\n40\x1e41\x1e42")


def test_what_the_format_has_no_word_for_ends_no_poll() -> None:
    """Such as the keep-alive of other formats, while the gateway does not read from the client."""
    with running_gateway() as gateway:
        client = Client(gateway)
        client.say(head("first"))
        written = len(gateway.transport.written)
        session = client.session("first")
        assert session is not None
        for word in (b"", session.connection.format.visible_ping):
            gateway.loop.call_soon(session.connection.write, word)
        gateway.loop.settle()
        assert len(gateway.transport.written) == written
        client.do("write", "first", 5)
        assert gateway.transport.written.endswith(b"\r\n\r\n4xxxxx")


def test_only_a_page_that_asks_may_read_an_answer_that_is_shared() -> None:
    allowed = b"\r\naccess-control-allow-origin: https://test\r\n"
    with running_gateway() as gateway:
        client = Client(gateway)
        for sid, lines, reads in [
            ("first", "", False),
            ("second", "Origin: https://test\r\n", True),
            ("second", "Origin: https://test\r\n", True),
            ("first", "", False),
        ]:
            client.say(head(sid, lines=lines))
            client.do("write", sid, 5)
            answer = bytes(gateway.transport.written).rpartition(b"HTTP/1.1")[2]
            assert answer.startswith(b" 200 ")
            assert (allowed in answer) == reads
