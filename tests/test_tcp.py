"""`tests.tcp`: a server leaves no connection behind."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.pod import SECONDS
from tests.tcp import listening, port_of


@pytest.mark.parametrize("sent", [b"", b"1" * (16 << 20)], ids=["nothing", "what nobody takes"])
async def test_connections_end_with_the_server(sent: bytes) -> None:
    begun = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        begun.set()
        await reader.read()

    async with asyncio.timeout(SECONDS):
        async with listening(serve) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            await begun.wait()
        try:
            await reader.read()
        except ConnectionResetError:
            assert sent
        writer.close()
