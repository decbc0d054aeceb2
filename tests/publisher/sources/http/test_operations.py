"""Operations on users over HTTP: show who is connected, disconnect users, revoke tokens."""

from __future__ import annotations

import math
import time
import uuid
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock
from urllib.parse import quote

import httpx
import pytest

from clarion_contract.bus.orders import (
    ChangeTopics,
    Disconnect,
    Order,
    Orders,
    RevokeToken,
    RevokeUser,
)
from clarion_contract.bus.presence import PodLoad, PresenceEntry, PresenceRegister
from clarion_contract.events.errors import BusUnavailable
from clarion_contract.events.topic_members import TopicEntry
from clarion_publisher.sources.http import problems, schemas
from clarion_publisher.sources.http.answers import DisconnectReceipt
from clarion_publisher.sources.http.users import Users
from tests.publisher.service import Service, bearer, serving
from tests.publisher.sources.http.test_routes import assert_problem
from tests.valkey import Valkey

LEEWAY = 5
TOKEN_LIFE = 86_400
HISTORY = 600
ODD_IDS = [
    "älice",
    "a/b",
    "x/disconnect",
    "{all}",
    "a b",
    "%2F",
    "?",
    "#",
    "a\nb",
    ".",
    "\u20ac" * 85,
]


def path_of(user: str, operation: str = "disconnect") -> str:
    # A client drops a path's dots, even when they are encoded, unless they stand in a longer name.
    return f"/v1/users/{quote(user, safe='')}/{operation}"


def orders_about(service: Service, user: str) -> list[Any]:
    return [order for order in service.orders() if getattr(order, "user", None) == user]


def test_a_user_is_disconnected(client: httpx.Client, service: Service, user: str) -> None:
    body = {"reason": "your plan has changed", "reconnect": False}
    response = client.post(path_of(user), json=body)
    assert (response.status_code, response.json()) == (
        200,
        {"gateways": 0, "connections": 0, "tokens_good_from": None},
    )
    (order,) = orders_about(service, user)
    assert isinstance(order, Disconnect)
    assert (order.reason, order.reconnect) == ("your plan has changed", False)
    assert order.expires_at == pytest.approx(time.time() + HISTORY, abs=60)


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"content": b" {} "}])
def test_a_body_is_optional(
    client: httpx.Client, service: Service, user: str, options: Any
) -> None:
    if not options:
        client.headers.pop("content-type")
    assert client.post(path_of(user), **options).status_code == 200
    (order,) = orders_about(service, user)
    assert (order.reason, order.reconnect) == (None, True)


def test_each_disconnect_is_an_order_of_its_own(
    client: httpx.Client, service: Service, user: str
) -> None:
    """Otherwise gateways, which carry out each order once, would ignore the second."""
    client.post(path_of(user))
    client.post(path_of(user))
    first, second = orders_about(service, user)
    assert first.id != second.id


def test_a_disconnect_may_revoke_too(client: httpx.Client, service: Service, user: str) -> None:
    before = time.time()
    response = client.post(path_of(user), json={"revoke": True})
    farewell, revocation = orders_about(service, user)
    assert isinstance(farewell, Disconnect)
    assert isinstance(revocation, RevokeUser)
    assert before <= revocation.issued_before <= time.time()
    good_from = math.ceil(revocation.issued_before)
    assert response.json() == {"gateways": 0, "connections": 0, "tokens_good_from": good_from}


def test_a_users_tokens_are_revoked(client: httpx.Client, service: Service, user: str) -> None:
    """The order lasts as long as a token issued at that moment could live."""
    past = client.post(path_of(user, "revoke"), json={"issued_before": 10_000})
    assert (past.status_code, past.json()["tokens_good_from"]) == (200, 10_000)
    before = time.time()
    response = client.post(path_of(user, "revoke"))
    assert response.status_code == 200
    (order,) = orders_about(service, user)
    assert before <= order.issued_before <= time.time()
    assert response.json()["tokens_good_from"] == math.ceil(order.issued_before)
    assert order.expires_at == order.issued_before + TOKEN_LIFE + LEEWAY


def test_a_token_is_revoked_until_it_ends(client: httpx.Client, service: Service) -> None:
    token_id, other = uuid.uuid4().hex, uuid.uuid4().hex
    ends = int(time.time()) + 90
    client.post(f"/v1/tokens/{token_id}/revoke", json={"expires_at": ends})
    client.post(f"/v1/tokens/{other}/revoke")
    orders = {o.token_id: o for o in service.orders() if isinstance(o, RevokeToken)}
    assert orders[token_id].expires_at == ends + LEEWAY
    assert orders[other].expires_at == pytest.approx(time.time() + TOKEN_LIFE + LEEWAY, abs=60)


def test_a_disconnect_says_how_many_connections_presence_knew(
    redis_url: str, namespace: str
) -> None:
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        service.register("a", PodLoad(0, 2, 1), {"alice": PresenceEntry(2, 1_800_000_001.0)})
        service.register(
            "b", PodLoad(0, 2, 2), {"alice": PresenceEntry(1, 0.0), "bob": PresenceEntry(1, 0.0)}
        )
        assert client.post(path_of("alice")).json()["connections"] == 3


ROOMS = '{"topics": [{"pattern": "room.*", "presence": {"max_members": 2}}]}'


def test_the_members_of_a_topic_are_found_on_all_pods_that_are_alive(
    redis_url: str, namespace: str
) -> None:
    load = PodLoad(0, 1, 1)
    with (
        serving(redis_url, namespace=namespace, topic_rules=ROOMS) as service,
        service.client() as client,
    ):
        names = [service.register(pod, load, {}) for pod in ("a", "b")]
        service.hold(names[0], "room.1", TopicEntry(2, 2, ("alice", "bob")))
        service.hold(names[1], "room.1", TopicEntry(1, 1, ("bob",)))
        service.hold("gone:1", "room.1", TopicEntry(1, 1, ("zoe",)))
        found = client.get("/v1/topics/room%2E1")
        assert (found.status_code, found.json()) == (
            200,
            {
                "topic": "room.1",
                "connections": 3,
                "users": 2,
                "members": ["alice", "bob"],
                "pods": [
                    {"pod": "a", "connections": 2, "users": 2},
                    {"pod": "b", "connections": 1, "users": 1},
                ],
            },
        )
        service.hold(names[1], "room.1", TopicEntry(1, 1, ("carol",)))
        assert client.get("/v1/topics/room.1").json()["members"] is None
        nobody = client.get("/v1/topics/room.2").json()
        assert (nobody["users"], nobody["members"], nobody["pods"]) == (0, [], [])
        for name in ("order.42", "room.*", "%20"):
            assert_problem(client.get(f"/v1/topics/{name}"), problems.INVALID_REQUEST)


def test_a_users_topics_are_changed(client: httpx.Client, service: Service, user: str) -> None:
    body = {"add": ["order.42", "a"], "remove": ["b"]}
    response = client.post(path_of(user, "topics"), json=body)
    assert (response.status_code, response.json()) == (200, {"gateways": 0, "connections": 0})
    client.post(path_of(user, "topics"), json=body)
    order, again = orders_about(service, user)
    assert isinstance(order, ChangeTopics)
    assert (order.add, order.remove) == (("order.42", "a"), ("b",))
    assert order.expires_at == pytest.approx(time.time() + HISTORY, abs=60)
    assert order.id != again.id


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/add"),
        ({"add": [], "remove": []}, "/add"),
        ({"add": ["a"], "remove": ["b", "a"]}, "/remove"),
        ({"add": ["a", "order.*", "b"]}, "/add/1"),
        ({"add": [""]}, "/add/0"),
        ({"remove": ["a", 5]}, "/remove/1"),
        ({"add": "a"}, "/add"),
        ({"add": None}, "/add"),
        ({"remove": ["a"] * 101}, "/remove"),
        ({"add": ["x" * 129]}, "/add/0"),
        ({"add": ["a"], "topics": ["b"]}, "/topics"),
    ],
)
def test_orders_about_topics_that_are_none(
    client: httpx.Client, service: Service, user: str, body: Any, pointer: str
) -> None:
    response = client.post(path_of(user, "topics"), json=body)
    problem = assert_problem(response, problems.INVALID_REQUEST)
    assert problem["errors"][0]["pointer"] == pointer
    assert orders_about(service, user) == []


class SilentPresence:
    """On a cluster, only the node that holds a user's presence may be away."""

    async def user(self, user: str) -> dict[str, PresenceEntry]:
        raise BusUnavailable("no answer")


class KeptOrders:
    def __init__(self) -> None:
        self.kept: list[Order] = []

    async def give(self, orders: list[Order], *, replicated: bool) -> int:
        self.kept += orders
        return 2


async def test_a_user_is_disconnected_though_presence_is_silent() -> None:
    orders = KeptOrders()
    users = Users(
        cast("Orders", orders),
        cast("PresenceRegister", SilentPresence()),
        AsyncMock(),
        token_max_seconds=TOKEN_LIFE,
        leeway_seconds=LEEWAY,
        disconnect_seconds=HISTORY,
        topics=AsyncMock(),
    )
    assert await users.disconnect("alice", schemas.DisconnectUser()) == DisconnectReceipt(2, None)
    assert len(orders.kept) == 1


@pytest.mark.parametrize("odd", ODD_IDS)
def test_any_user_can_be_named(client: httpx.Client, service: Service, odd: str) -> None:
    assert client.post(path_of(odd + "x")).status_code == 200
    assert orders_about(service, odd + "x")


def test_a_user_is_found_on_all_pods(redis_url: str, namespace: str) -> None:
    load = PodLoad(anonymous=5, authenticated=3, users=2)
    with serving(redis_url, namespace=namespace) as service, service.client() as client:
        service.register(
            "b", load, {"alice": PresenceEntry(1, 1_800_000_000.25), "a/b": PresenceEntry(1, 0.0)}
        )
        service.register("a", PodLoad(0, 2, 1), {"alice": PresenceEntry(2, 1_800_000_001.0)})
        alice = client.get("/v1/users/alice")
        assert (alice.status_code, alice.json()) == (
            200,
            {
                "user": "alice",
                "connected": True,
                "connections": 3,
                "since": "2027-01-15T08:00:00.250000Z",
                "pods": [
                    {"pod": "a", "connections": 2, "since": "2027-01-15T08:00:01Z"},
                    {"pod": "b", "connections": 1, "since": "2027-01-15T08:00:00.250000Z"},
                ],
            },
        )
        assert client.get("/v1/users/a%2Fb").json()["connections"] == 1
        assert client.get("/v1/connections").json() == {
            "connections": 10,
            "anonymous": 5,
            "authenticated": 5,
            "pods": [
                {
                    "pod": "a",
                    "connections": 2,
                    "anonymous": 0,
                    "authenticated": 2,
                    "users": 1,
                    "ready": True,
                },
                {
                    "pod": "b",
                    "connections": 8,
                    "anonymous": 5,
                    "authenticated": 3,
                    "users": 2,
                    "ready": True,
                },
            ],
        }


def test_a_position_lies_between_what_was_published_before_and_after(client: httpx.Client) -> None:
    def publish(audience: object) -> int:
        event = {"audience": audience, "type": "t", "data": None}
        answer = client.post("/v1/events", json=event, headers=bearer()).json()
        return int(answer["id"])

    before = [publish("all"), publish({"topic": "order.42"}), publish({"user": "alice"})]
    for scope in ("users:read", "publish:topic:order.*", "publish:all"):
        answer = client.get("/v1/position", headers=bearer(scope=scope))
        assert answer.status_code == 200
        position = int(answer.json()["id"])
        assert max(before) < position < publish({"topic": "order.42"})
    refused = client.get("/v1/position", headers=bearer(scope="users:disconnect publish"))
    assert_problem(refused, problems.INSUFFICIENT_SCOPE)


def test_a_user_who_is_not_connected(client: httpx.Client, user: str) -> None:
    response = client.get(f"/v1/users/{user}")
    assert (response.status_code, response.json()) == (
        200,
        {"user": user, "connected": False, "connections": 0, "since": None, "pods": []},
    )


@pytest.mark.parametrize("path", ["/v1/users/alice", "/v1/connections"])
def test_reading_has_a_scope_of_its_own(client: httpx.Client, path: str) -> None:
    other = bearer(scope="publish:all publish:authenticated publish:user users:disconnect")
    problem = assert_problem(client.get(path, headers=other), problems.INSUFFICIENT_SCOPE)
    assert problem["scope"] == "users:read"
    assert client.get(path, headers=bearer(scope="users:read")).status_code == 200


@pytest.mark.parametrize("path", [path_of("\u20ac" * 86), "/v1/users/%FF/disconnect"])
def test_what_can_be_no_users_id(client: httpx.Client, path: str) -> None:
    problem = assert_problem(client.post(path), problems.INVALID_REQUEST)
    assert "in the path" in problem["detail"]


def test_what_can_be_no_tokens_id(client: httpx.Client) -> None:
    response = client.post(f"/v1/tokens/{'x' * 257}/revoke")
    assert_problem(response, problems.INVALID_REQUEST)


@pytest.mark.parametrize(
    ("operation", "body", "pointer"),
    [
        ("disconnect", {"reason": 1}, "/reason"),
        ("disconnect", {"reason": "x" * 124}, "/reason"),
        ("disconnect", {"reconnect": "yes"}, "/reconnect"),
        ("disconnect", {"revoke": None}, "/revoke"),
        ("disconnect", {"more": 1}, "/more"),
        ("disconnect", [], ""),
        ("revoke", {"issued_before": -1}, "/issued_before"),
        ("revoke", {"issued_before": "now"}, "/issued_before"),
        ("revoke", {"issued_before": 1e12}, "/issued_before"),
    ],
)
def test_bad_fields_are_named(
    client: httpx.Client, user: str, operation: str, body: Any, pointer: str
) -> None:
    response = client.post(path_of(user, operation), json=body)
    problem = assert_problem(response, problems.INVALID_REQUEST)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_bad_bodies(client: httpx.Client, user: str) -> None:
    assert_problem(client.post(path_of(user), content=b"{"), problems.MALFORMED_JSON)
    plain = client.post(path_of(user), content=b"{}", headers={"content-type": "text/plain"})
    assert_problem(plain, problems.UNSUPPORTED_MEDIA_TYPE)
    large = client.post(path_of(user), content=b" " * (8 << 20) + b"{}")
    assert_problem(large, problems.BODY_TOO_LARGE)


@pytest.mark.parametrize(
    "path", [path_of("alice"), path_of("alice", "revoke"), "/v1/tokens/one/revoke"]
)
def test_a_scope_is_needed(client: httpx.Client, path: str) -> None:
    publishing = bearer(scope="publish:all publish:authenticated publish:user")
    problem = assert_problem(client.post(path, headers=publishing), problems.INSUFFICIENT_SCOPE)
    assert problem["scope"] == "users:disconnect"
    nobody = client.post(path, headers={"authorization": "Bearer x"})
    assert_problem(nobody, problems.INVALID_TOKEN)
    assert client.post(path, headers=bearer(scope="users:disconnect")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/users/alice", "/v1/connections"])
def test_reading_answers_head(client: httpx.Client, path: str) -> None:
    """The same as GET, without the body."""
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert client.head(path, headers={"authorization": "Bearer x"}).status_code == 401
    refused = client.delete(path)
    assert_problem(refused, problems.METHOD_NOT_ALLOWED)
    assert refused.headers["allow"] == "GET, HEAD"


def test_the_caller_is_known_before_the_body_is_read(client: httpx.Client) -> None:
    """A client without a token cannot make the publisher hold a body in memory."""
    refused = client.post(
        path_of("alice"), content=b"not json", headers={"authorization": "Bearer x"}
    )
    assert_problem(refused, problems.INVALID_TOKEN)
    two = [*client.headers.multi_items(), ("authorization", "Bearer x")]
    assert_problem(client.post(path_of("alice"), headers=two), problems.MALFORMED_REQUEST)


def test_other_methods_and_paths(client: httpx.Client) -> None:
    assert client.get(path_of("alice")).status_code == 405
    assert client.post("/v1/users//disconnect").status_code == 404
    assert client.post("/v1/users/a/b/disconnect").status_code == 404


def test_without_redis_the_caller_is_told(tmp_path: Path) -> None:
    with serving(Valkey(tmp_path).url) as service, service.client() as client:
        assert_problem(client.post(path_of("alice")), problems.BUS_UNAVAILABLE)
        for path in ("/v1/users/alice", "/v1/connections"):
            assert_problem(client.get(path), problems.BUS_UNAVAILABLE)


def test_orders_are_bounded(redis_url: str, namespace: str) -> None:
    with (
        serving(redis_url, namespace=namespace, orders_max=100) as service,
        service.client() as client,
    ):
        for n in range(50):
            client.post(path_of(f"user-{n}"), json={"revoke": True})
        assert_problem(client.post(path_of("alice")), problems.OVERLOADED)
        operations = "clarion_publisher_operations_total"
        labels = 'operation="disconnect_user",outcome="done"'
        assert service.metric(f"{operations}{{{labels}}}") == 50
