"""Bytes of callers of a publisher: request heads and bodies, and the JSON in them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from clarion_contract.events.audience import ALL
from clarion_contract.events.event import Publication, parse_message
from clarion_contract.service.http_port import HttpLimits, Port
from clarion_contract.service.http_protocol import protocol_class
from clarion_publisher.ingestion.event import IncomingEvent
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.sources.http.cloudevents import (
    Mode,
    decode_cloudevent,
    decode_cloudevents,
    mode_of,
)
from clarion_publisher.sources.http.decoder import decode_batch, decode_body, decode_event
from clarion_publisher.sources.http.exchange import Answer, Disconnected, answered, read_headers
from clarion_publisher.sources.http.problems import document_of
from clarion_publisher.sources.http.protocol import PublisherHttpProtocol
from clarion_publisher.sources.http.schemas import DisconnectUser, NewEvent, RevokeToken, RevokeUser
from tests.fuzz.answers import check_answer
from tests.fuzz.bugs import nothing_fails
from tests.fuzz.target import Broken
from tests.fuzz.transport import LONG_SECONDS, FakeTransport, finish, piece_bytes
from tests.gateway.clockwork import ClockworkLoop

_LIMITS = HttpLimits(head_max_bytes=2_048, idle_seconds=75, body_bytes_per_second=1_024)
_BODIES = (DisconnectUser, RevokeUser, RevokeToken)


def parse_request(data: bytes) -> None:
    """Requests, or what stands in their place, on a new connection."""
    loop = ClockworkLoop()
    config = Config(_app, log_config=None, access_log=False, ws="none", lifespan="off")
    config.load()
    transport = FakeTransport(loop)
    port = Port(_LIMITS, max_sockets=10, refused=lambda _: None)
    make = protocol_class(PublisherHttpProtocol, port)
    try:
        with nothing_fails(loop):
            transport.connect(make(config, ServerState(), {}, loop))
            transport.say(data[1:], piece_bytes(data))
            loop.advance(LONG_SECONDS)
            if not transport.lost:
                raise Broken("nothing ends this connection")
            check_answer(bytes(transport.written))
    finally:
        finish(loop)


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads headers and body as the publisher's routes do, and takes everything."""
    if scope["type"] != "http":
        return

    async def work() -> Answer:
        read_headers(scope)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            more = message.get("more_body", False)
        return Answer(200, b"{}", "done", "all")

    try:
        answer = await answered(work(), "all", scope)
    except Disconnected:
        return
    await answer.send(send)


def parse_bodies(data: bytes) -> None:
    """A body, by its first byte: an event, a batch, or what another request says."""
    kind, body = data[0] if data else 0, data[1:]
    try:
        if kind % 3 == 0:
            _check(decode_event(body))
        elif kind % 3 == 1:
            for event in decode_batch(body, max_events=50):
                if isinstance(event, NewEvent):
                    _check(event)
                else:
                    _check_refusal(event)
        else:
            decode_body(_BODIES[kind % len(_BODIES)], body)
    except Refusal as refusal:
        _check_refusal(refusal)


def parse_cloudevents(data: bytes) -> None:
    """CloudEvents, by the first byte: a batch, headers and a body, or an event of one JSON text."""
    kind, rest = data[:1], data[1:]
    try:
        if kind == b"b":
            events = decode_cloudevents({}, rest, max_events=50)
        elif kind == b"h":
            head, _, body = rest.partition(b"\n\n")
            fields = (line.partition(b": ") for line in head.split(b"\n"))
            headers = {name.lower(): value for name, _, value in fields}
            mode = mode_of(headers)
            events = [] if mode is None else [decode_cloudevent(mode, headers, body)[0]]
        else:
            events = [decode_cloudevent(Mode.STRUCTURED, {}, rest)[0]]
    except Refusal as refusal:
        _check_refusal(refusal)
        return
    for event in events:
        if isinstance(event, IncomingEvent):
            _check(event)
        else:
            _check_refusal(event)


def _check(event: NewEvent | IncomingEvent) -> None:
    check_same(Publication(ALL, event.type, bytes(event.data), event.key, event.exclude))


def check_same(publication: Publication) -> None:
    """See an event that was taken come out of the bus as it was.

    Raises:
        Broken: it does not.
    """
    header = f"1 0 {publication.header}".encode()
    parsed = parse_message(publication.audience, b"%b\n%b" % (header, publication.data))
    same = (parsed.type, parsed.data, parsed.exclude)
    if same != (publication.type, bytes(publication.data), publication.exclude):
        raise Broken(f"{publication!r} came out as {parsed!r}")


def _check_refusal(refusal: Refusal) -> None:
    problem: dict[str, Any] = msgspec.json.decode(document_of(refusal))
    if problem["status"] not in {400, 413, 415, 422} or not problem["detail"]:
        raise Broken(f"no answer to a bad body: {problem}")
