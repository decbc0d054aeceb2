"""The AsyncAPI document of handlers and declared events, held against the official schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec
import pytest
from pydantic import BaseModel

from clarion import Context, Handlers, propagate, topic, user
from clarion_contract.events.catalogue import Catalogue, parse_catalogue
from clarion_examples.chat.handlers import handlers as chat
from clarion_gateway.asyncapi.document import asyncapi_document

Official = Callable[[dict[str, Any]], None]


class Place(msgspec.Struct):
    x: int


class Placed(BaseModel):
    at: str


def handlers() -> Handlers:
    made = Handlers()

    @made.on("place", propagate(to="all"))
    async def place(message: Place, context: Context) -> Placed:
        """Place a piece.

        On the board.
        """
        return Placed(at=str(message.x))

    @made.on("raw", propagate(to=topic("board")), propagate(to=user("alice")))
    async def raw(message: bytes, context: Context) -> None: ...

    @made.on("odd/type:x", propagate(to=lambda context, reply: topic("x")))
    async def untyped(message, context): ...  # type: ignore[no-untyped-def]

    return made


CATALOGUE = {
    "events.yaml": {
        "events": {
            "order.updated": {
                "description": "An order has a new state.\n\nOr a new line.",
                "schema": {"type": "object", "properties": {"line": {"$ref": "line.json"}}},
                "audiences": ["user", "topic:order.*", "topic:a/b#c.**"],
                "example": {"line": ["a"]},
            },
            "old.*": {"deprecated": True, "audiences": ["authenticated"]},
            "anything": {},
        }
    },
    "line.json": {"prefixItems": [{"type": "string"}], "items": False},
}


def catalogue() -> Catalogue:
    return parse_catalogue(CATALOGUE)


def messages(document: dict[str, Any], channel: str) -> list[str]:
    return [
        document["components"]["messages"][each["$ref"].rpartition("/")[2]]["name"]
        for each in document["channels"][channel]["messages"].values()
    ]


def fits(document: dict[str, Any], message: str, value: dict[str, Any]) -> bool:
    payload = document["components"]["messages"][message]["payload"]
    whole = {**payload, "components": document["components"]}
    return bool(jsonschema.Draft7Validator(whole).is_valid(value))


@pytest.mark.parametrize(
    "document",
    [
        asyncapi_document(),
        asyncapi_document(chat),
        asyncapi_document(None, catalogue()),
        asyncapi_document(handlers(), catalogue(), url="http://127.0.0.1:8001/live/"),
    ],
    ids=["empty", "chat", "declared", "all"],
)
def test_it_is_valid(official: Official, document: dict[str, Any]) -> None:
    official(document)


def test_the_schema_finds_faults(official: Official) -> None:
    document = asyncapi_document(chat)
    del document["operations"]["receiveChatMessage"]["action"]
    with pytest.raises(AssertionError):
        official(document)


def test_messages_and_replies_are_as_on_the_wire() -> None:
    document = asyncapi_document(handlers())
    message = {"kind": "message", "ref": 1, "type": "place", "data": {"x": 1}}
    assert fits(document, "PlaceMessage", message)
    assert not fits(document, "PlaceMessage", {**message, "data": {}})
    assert not fits(document, "PlaceMessage", {**message, "type": "raw"})
    reply = {"kind": "reply", "ref": 1, "data": {"at": "1"}}
    assert fits(document, "PlaceReply", reply)
    assert not fits(document, "PlaceReply", {**reply, "data": None})
    assert fits(document, "RawReply", {**reply, "data": None})
    assert fits(document, "Error", {"kind": "error", "ref": 1, "code": "x", "message": "y"})
    assert fits(document, "OddTypeXMessage", {**message, "type": "odd/type:x", "data": [1]})


def test_an_operation_for_each_handler() -> None:
    operation = asyncapi_document(handlers())["operations"]["receivePlace"]
    assert (operation["action"], operation["summary"]) == ("receive", "Place a piece.")
    channel = "#/channels/connection"
    assert operation["messages"] == [{"$ref": f"{channel}/messages/PlaceMessage"}]
    assert operation["reply"]["messages"] == [
        {"$ref": f"{channel}/messages/PlaceReply"},
        {"$ref": f"{channel}/messages/Error"},
    ]


def test_a_channel_for_each_audience() -> None:
    document = asyncapi_document(handlers(), catalogue())
    channels = {name: each["address"] for name, each in document["channels"].items()}
    assert channels == {
        "connection": "/ws",
        "all": "all",
        "authenticated": "authenticated",
        "user": "user:{user}",
        "topic": "topic:{topic}",
        "topicABCAll": "topic:a/b#c.{rest}",
        "topicBoard": "topic:board",
        "topicOrderAny": "topic:order.{segment2}",
    }
    assert messages(document, "all") == ["anything", "line", "odd/type:x", "place"]
    assert messages(document, "user") == ["anything", "line", "odd/type:x", "order.updated", "raw"]
    assert messages(document, "authenticated") == ["anything", "line", "odd/type:x", "old.*"]
    assert messages(document, "topicBoard") == ["raw"]
    assert messages(document, "topicOrderAny") == ["order.updated"]


def test_events_are_as_on_the_wire() -> None:
    document = asyncapi_document(handlers(), catalogue())
    event = {
        "kind": "event",
        "id": "1732440000000000",
        "audience": "user",
        "type": "order.updated",
        "time": "2024-11-24T09:20:00.000000Z",
        "data": {"line": ["a"]},
    }
    assert fits(document, "OrderUpdatedEvent", event)
    assert not fits(document, "OrderUpdatedEvent", {**event, "data": {"line": ["a", "b"]}})
    old = {**event, "type": "old.one", "data": None}
    assert fits(document, "OldAnyEvent", old)
    assert not fits(document, "OldAnyEvent", {**old, "type": "old.one.two"})
    (example,) = document["components"]["messages"]["OrderUpdatedEvent"]["examples"]
    assert fits(document, "OrderUpdatedEvent", example["payload"])


def test_what_is_declared_counts_for_a_handlers_event_too() -> None:
    declared = parse_catalogue({"place.json": {"type": "null", "x-audiences": ["authenticated"]}})
    document = asyncapi_document(handlers(), declared)
    assert "place" not in messages(document, "all")
    event = document["components"]["messages"]["PlaceEvent"]["payload"]["allOf"][1]
    assert event["properties"]["data"] == {"$ref": "#/components/schemas/Place2"}


def test_types_that_make_one_name_get_two() -> None:
    declared = parse_catalogue({"e.yaml": {"events": {"a.b": {}, "a-b": {}, "a:b": {}}}})
    names = asyncapi_document(None, declared)["components"]["messages"]
    assert list(names) == ["ABEvent", "AB2Event", "AB3Event"]


def test_what_a_text_says_is_summary_and_description() -> None:
    found = asyncapi_document(None, catalogue())["components"]["messages"]
    message = found["OrderUpdatedEvent"]
    assert message["summary"] == "An order has a new state."
    assert message["description"].endswith("Or a new line.")
    assert found["OldAnyEvent"]["deprecated"]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://127.0.0.1:8001/", {"host": "127.0.0.1:8001", "protocol": "ws"}),
        (
            "https://shop.example/live",
            {"host": "shop.example", "protocol": "wss", "pathname": "/live"},
        ),
    ],
)
def test_the_server(url: str, server: dict[str, str]) -> None:
    assert asyncapi_document(url=url)["servers"] == {"gateway": server}


def test_no_server_is_made_up() -> None:
    document = asyncapi_document(title="Shop", version="7")
    assert "servers" not in document
    assert (document["info"]["title"], document["info"]["version"]) == ("Shop", "7")


def with_namespaces() -> Handlers:
    made = handlers()
    admin = made.namespace("/admin")

    @admin.on("place", propagate(to=topic("/admin")))
    async def place(message: str, context: Context) -> str:
        """Place an order."""
        return message

    @admin.on("close", propagate(to="all"))
    async def close(message: int, context: Context) -> int:
        return message

    @made.namespace("/a.b").on("look")
    async def look(message: int, context: Context) -> int:
        return message

    return made


def test_each_namespace_has_a_channel_of_its_own(official: Official) -> None:
    document = asyncapi_document(with_namespaces())
    official(document)
    channels = {name: each["address"] for name, each in document["channels"].items()}
    assert channels["connectionAdmin"] == "/admin"
    assert channels["connectionAB"] == "/a.b"
    assert [*document["channels"]["connectionAdmin"]["messages"]] == [
        "AdminCloseMessage", "AdminCloseReply", "AdminPlaceMessage", "AdminPlaceReply", "Error",
    ]  # fmt: skip
    operation = document["operations"]["receiveAdminPlace"]
    assert operation["channel"] == {"$ref": "#/channels/connectionAdmin"}
    assert operation["summary"] == "Place an order."
    message = {"kind": "message", "ref": 1, "type": "place", "data": "here"}
    assert fits(document, "AdminPlaceMessage", message)
    assert not fits(document, "PlaceMessage", message), "of the main namespace"


def test_events_of_namespaces_go_to_their_audiences() -> None:
    document = asyncapi_document(with_namespaces())
    assert [*document["channels"]["topicAdmin"]["messages"]] == ["AdminPlaceEvent"]
    shared = [*document["channels"]["all"]["messages"]]
    assert {"CloseEvent", "PlaceEvent"} <= {*shared}
    assert "AdminPlaceEvent" not in shared


def test_a_declared_event_counts_for_those_of_namespaces_too() -> None:
    declared = parse_catalogue({"place.json": {"type": "null", "x-audiences": ["authenticated"]}})
    document = asyncapi_document(with_namespaces(), declared)
    assert "AdminPlaceEvent" not in document["components"]["messages"]
    assert "topicAdmin" not in document["channels"]
