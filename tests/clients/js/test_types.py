"""The types that `clarion types` writes compile, and `createClient` takes them, in strict mode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import BaseModel

from clarion import Context, Handlers, propagate
from clarion_cli.typescript.document import types_file
from clarion_contract.events.catalogue import parse_catalogue
from clarion_gateway.asyncapi.document import asyncapi_document
from tests.clients.js.conftest import run

handlers = Handlers()


class ChatMessage(BaseModel):
    text: str
    to: str | None = None


class ChatReply(BaseModel):
    at: str


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []
    place: tuple[int, int] = (0, 0)


@dataclass
class Found:
    nodes: dict[str, Node]
    state: Literal["all", "some"]


# Names that TypeScript or the file itself has already.
class Events(msgspec.Struct):
    n: int


class Record(msgspec.Struct):
    events: Events


@handlers.on("chat.message", propagate(to="all"))
async def chat_message(message: ChatMessage, context: Context) -> ChatReply: ...


@handlers.on("find")
async def find(message: list[str], context: Context) -> Found: ...


@handlers.on("record")
async def record(message: Record, context: Context) -> None: ...


CATALOGUE = {
    "events.yaml": {
        "events": {
            "order.updated": {
                "description": "An order */ changed.",
                "schema": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {"id": {"type": "integer"}, "parent": {"$ref": "#"}, "a b": True},
                },
            },
            "order.*": {"deprecated": True, "schema": {"type": "string"}},
            "order.**": {"schema": {"type": "null"}},
            "*.updated": {"schema": {"type": "boolean"}},
            "order.line.*": {"schema": {"type": "array", "prefixItems": [{"const": "x"}]}},
            "anything": {},
            "never": {"schema": False},
        }
    },
}
PROGRAM = """
import { createClient } from "@clarion/client";
import type { Events, Messages, Found } from "./%(module)s";

const client = createClient<Events, Messages>({ url: "https://events.example.com" });
client.on("order.updated", (order) => {
  const id: number = order.id;
  const parent: number | undefined = order.parent?.id;
  // @ts-expect-error an order has no such field
  return [id, parent, order.nothing];
});
client.on("chat.message", ({ at }) => at.length);
client.on("anything", (data: unknown) => data);
client.on("order.line.added", (data) => data);
// @ts-expect-error there are no such events
client.on("chat.massage", () => {});
const found: Promise<Found> = client.send("find", ["a"]);
void found.then(({ nodes, state }) => [nodes["a"]?.children?.[0]?.place?.[1]?.toFixed(), state === "all"]);
void client.send("record", { events: { n: 1 } });
void client.send("chat.message", { text: "hi", to: null });
// @ts-expect-error `text` is missing
void client.send("chat.message", {});
// @ts-expect-error there is no such message
void client.send("chat.other", {});
"""


def test_they_compile(application: Path) -> None:
    document = asyncapi_document(handlers, parse_catalogue(CATALOGUE))
    (application / "generated.ts").write_text(types_file(document))
    empty = types_file(asyncapi_document())
    (application / "empty.ts").write_text(
        empty + 'import { createClient } from "@clarion/client";\n'
        'createClient<Events, Messages>({ url: "https://events.example.com" });\n'
    )
    (application / "uses-generated.ts").write_text(PROGRAM % {"module": "generated.js"})
    options = ["--strict", "--noEmit", "--target", "ES2022", "--lib", "ES2022,DOM"]
    run(
        "npx", "--no-install", "tsc", *options, "--noUncheckedIndexedAccess",
        "--exactOptionalPropertyTypes", "--module", "ESNext", "--moduleResolution", "Bundler",
        "uses-generated.ts", "empty.ts",
        cwd=application,
    )  # fmt: skip
