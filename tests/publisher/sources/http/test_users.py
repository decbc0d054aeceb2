"""Orders and presence in Redis, and how long they stay there, with a clock that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from clarion_contract.bus.bus import Bus, redis_from_url
from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.bus.orders import Disconnect, Orders, RevokeToken, RevokeUser, decode_order
from clarion_contract.bus.presence import PresenceRegister
from clarion_contract.bus.topic_presence import TopicRegister
from clarion_contract.events.topic_rules import TopicRules
from clarion_contract.redis.keyspace import Keyspace
from clarion_publisher.ingestion.refusal import BUS_UNAVAILABLE, Refusal
from clarion_publisher.sources.http import schemas
from clarion_publisher.sources.http.users import Users
from tests.valkey import free_port

NOW = 4e9  # orders of the past are forgotten


class Room:
    def __init__(self, redis_url: str, namespace: str) -> None:
        keyspace = Keyspace(namespace)
        self.bus = Bus(redis_from_url(redis_url), keyspace, HistoryLimits(100, 600, 600))
        self.orders = Orders(self.bus, keyspace, max_orders=100)
        self.users = Users(
            self.orders,
            PresenceRegister(self.bus, keyspace),
            self.bus.position,
            token_max_seconds=1_000,
            leeway_seconds=5,
            disconnect_seconds=60,
            topics=TopicRegister(self.bus, keyspace),
            rules=TopicRules.model_validate({"topics": [{"pattern": "a", "presence": True}]}),
            clock=lambda: NOW,
        )


@pytest.fixture
async def room(redis_url: str, namespace: str) -> AsyncIterator[Room]:
    room = Room(redis_url, namespace)
    yield room
    await room.bus.aclose()


async def test_orders_end_when_nobody_needs_them(room: Room) -> None:
    await room.users.disconnect("alice", schemas.DisconnectUser(revoke=True))
    await room.users.revoke_user("bob", schemas.RevokeUser(issued_before=NOW - 10))
    await room.users.revoke_token("one", schemas.RevokeToken())
    await room.users.revoke_token("two", schemas.RevokeToken(expires_at=NOW + 7))
    ends = {
        getattr(order, "user", None) or order.token_id: order.expires_at - NOW  # type: ignore[union-attr]
        for order in map(decode_order, await room.orders.read())
        if isinstance(order, RevokeUser | RevokeToken)
    }
    assert ends == {"alice": 1_005, "bob": 995, "one": 1_005, "two": 12}
    (farewell,) = [
        order
        for order in map(decode_order, await room.orders.read())
        if isinstance(order, Disconnect)
    ]
    assert (farewell.user, farewell.expires_at - NOW) == ("alice", 60)


async def test_without_redis_nothing_is_known(namespace: str) -> None:
    room = Room(f"redis://127.0.0.1:{free_port()}/0", namespace)
    for work in (
        room.users.read("alice"),
        room.users.read_connections(),
        room.users.read_position(),
        room.users.read_topic("a"),
        room.users.change_topics("alice", schemas.ChangeTopics(add=("a",))),
        room.users.revoke_token("one", schemas.RevokeToken()),
    ):
        with pytest.raises(Refusal) as caught:
            await work
        assert caught.value.kind is BUS_UNAVAILABLE
    await room.bus.aclose()
