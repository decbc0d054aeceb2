"""The TypeScript file of an AsyncAPI document: namespaces of Socket.IO have types of their own."""

from __future__ import annotations

import msgspec

from clarion import Context, Handlers, propagate, topic
from clarion_cli.typescript.document import types_file
from clarion_gateway.asyncapi.document import asyncapi_document


class AdminMessages(msgspec.Struct):
    """A class with the name that the file gives to a namespace's type."""

    n: int


def written() -> str:
    handlers = Handlers()
    admin = handlers.namespace("/admin")

    @handlers.on("say", propagate(to="all"))
    async def say(message: int, context: Context) -> int:
        return message

    @admin.on("say", propagate(to=topic("/admin")))
    async def say_to_admins(message: AdminMessages, context: Context) -> str:
        return str(message.n)

    return types_file(asyncapi_document(handlers))


def test_each_namespace_has_messages_of_its_own() -> None:
    text = written()
    main = text.partition("export type Messages = {")[2].partition("\n};")[0]
    assert main.split() == ['"say":', "{", "data:", "number;", "reply:", "number;", "};"]
    assert "/** The same for the namespace /admin of Socket.IO. */" in text
    admin = text.partition("export type AdminMessages = {")[2].partition("\n};")[0]
    assert admin.split() == ['"say":', "{", "data:", "AdminMessages2;", "reply:", "string;", "};"]
    assert "export interface AdminMessages2 {" in text


def test_an_event_of_several_namespaces_has_the_data_of_each() -> None:
    assert '"say": number | string;' in written()
