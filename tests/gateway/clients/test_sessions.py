"""`clarion_gateway.clients.sessions`: what one client may send, and that nothing of it stays."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from clarion_contract.bus.publish_queue import PublishQueue
from clarion_gateway.application.handlers import Handlers
from clarion_gateway.clients.admission import Admission
from clarion_gateway.clients.asks import Asks
from clarion_gateway.clients.host import GatewayHost
from clarion_gateway.clients.inbox import Inboxes
from clarion_gateway.clients.memberships import Memberships
from clarion_gateway.clients.origins import Origins
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import State
from clarion_gateway.connections.hub import Hub
from clarion_gateway.connections.inbound import Inbound
from clarion_gateway.connections.keepalive import Sweeper
from tests.gateway.recorder import Recorder, metrics, sample, settings

MESSAGE = b'{"kind":"message","type":"echo"}'


class Client(Recorder):
    """Tells the sessions that it has ended, as a transport does."""

    __slots__ = ("sessions",)

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions

    def close(self, close: Close, *, message: bytes = b"") -> None:
        self.sessions.ended(self, close)
        super().close(close, message=message)


class Door:
    """Sessions without sockets; jobs are kept, not run."""

    def __init__(self, **overrides: Any) -> None:
        self.now = 100.0
        self.hub = Hub()
        self.metrics = metrics()
        self.jobs: list[Coroutine[Any, Any, None]] = []
        options = settings(**overrides)
        inbound = Inbound(1 << 20)
        self.inboxes = Inboxes(
            cast("Admission", None),
            cast("Memberships", None),
            Handlers(),
            GatewayHost(
                cast("PublishQueue", None), Asks(self.metrics, max_per_connection=1), inbound
            ),
            self.metrics,
            self.spawn,
            options,
            inbound,
        )
        self.sessions = Sessions(
            cast("Admission", None),
            self.hub,
            self.inboxes,
            Sweeper(ping_interval_seconds=5, token_grace_seconds=0),
            self.metrics,
            Origins([]),
            self.spawn,
            options,
            clock=lambda: self.now,
        )

    def spawn(self, _name: str, job: Coroutine[Any, Any, None]) -> None:
        self.jobs.append(job)

    def client(self) -> Client:
        return Client(self.sessions)

    def outcomes(self, outcome: str) -> float:
        return sample(self.metrics, "clarion_messages_received_total", outcome=outcome)

    @property
    def kept(self) -> int:
        """Connections of which anything is kept."""
        return len(self.sessions._received) + len(self.inboxes._inboxes)

    async def run(self) -> None:
        while self.jobs:
            await self.jobs.pop()


def test_a_client_has_a_burst_and_then_its_rate() -> None:
    door = Door(messages_per_second=2, message_burst=3)
    client, other = door.client(), door.client()
    assert [door.sessions.spend(client) for _ in range(3)] == [True] * 3
    door.now += 0.5
    assert door.sessions.spend(client)
    assert not door.sessions.spend(client)
    assert client.closed_with == close_codes.RATE_LIMITED
    assert door.outcomes("rate_limited") == 1
    assert door.sessions.spend(other), "each has a budget of its own"


def test_a_few_malformed_messages_are_forgiven() -> None:
    door = Door()
    client = door.client()
    for count in range(1, 12):
        assert client.closed_with is None
        door.sessions.receive(client, b"nonsense")
        assert door.outcomes("malformed") == count
    assert client.closed_with == close_codes.MALFORMED
    assert {message["code"] for message in client.messages} == {"malformed"}


@pytest.mark.parametrize(
    "message",
    [b"\xff", b'{"kind":"message","type":"\xc3\x28"}', b'{"kind":"auth","token":"\xed\xa0\x80"}'],
)
def test_invalid_utf8_ends_the_connection(message: bytes) -> None:
    door = Door()
    client = door.client()
    door.sessions.receive(client, message)
    assert client.closed_with == close_codes.INVALID_TEXT
    assert door.outcomes("invalid_text") == 1


def test_nothing_is_kept_of_a_client_that_was_never_admitted() -> None:
    """The client sent a message before it was refused. No handler will ever take the message."""
    door = Door()
    client = door.client()
    door.sessions.receive(client, MESSAGE)
    assert client in door.inboxes
    client.close(close_codes.UNAUTHENTICATED)
    assert door.kept == 0


async def test_nothing_is_kept_of_a_client_that_has_gone() -> None:
    door = Door()
    client = door.client()
    door.hub.add(client)
    assert door.kept == 0, "nothing is kept of a client that has said nothing"
    door.sessions.receive(client, MESSAGE)
    await door.run()
    assert door.outcomes("unknown_type") == 1
    client.close(close_codes.NORMAL)
    assert door.kept == 0

    late = door.client()
    door.hub.add(late)
    door.sessions.receive(late, MESSAGE)
    late.close(close_codes.NORMAL)
    await door.run()  # begun before the client went
    assert not door.sessions.spend(late), "and what comes in after all makes nothing"
    assert late.state is State.CLOSED
    assert door.kept == 0


def subscription(*topics: str) -> bytes:
    return json.dumps({"kind": "subscribe", "ref": 1, "topics": topics}).encode()


def test_a_client_subscribes_to_so_many_topics_at_once_and_then_at_a_rate() -> None:
    door = Door(subscribes_per_second=2, subscribe_burst=3, max_topics_per_connection=5)
    client = door.client()
    door.sessions.receive(client, subscription("a", "b"))
    door.sessions.receive(client, subscription("c", "d", "e"))  # a debt of two
    assert client.messages == []
    door.sessions.receive(client, subscription("f"))
    (error,) = client.messages
    assert (error["kind"], error["ref"], error["code"]) == ("error", 1, "rate_limited")
    assert error["message"].startswith("expected at most 2 topics a second, 3 at once")
    assert "try again in 1.5 seconds" in error["message"]
    refused = sample(door.metrics, "clarion_topics_refused_total", reason="rate_limited")
    assert refused == 1
    assert client.closed_with is None
    door.now += 1.46
    door.sessions.receive(client, subscription("f"))
    assert "try again in 0.1 seconds" in client.messages[-1]["message"], "not 0.0"
    door.now += 0.04
    door.sessions.receive(client, subscription("f"))
    assert len(client.messages) == 2


def test_a_message_with_absurdly_many_topics_costs_what_a_large_one_costs() -> None:
    door = Door(subscribes_per_second=1, subscribe_burst=5, max_topics_per_connection=5)
    client = door.client()
    door.sessions.receive(client, subscription(*(str(number) for number in range(5_000))))
    door.now += 1
    door.sessions.receive(client, subscription("a"))
    assert client.messages == []
