"""The replies of a pipeline: in order, errors in their places, whether they come together or not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import BusyLoadingError, ResponseError

from clarion_contract.redis.connections import pool_to
from clarion_contract.redis.replies import read_replies
from clarion_contract.redis.url import parse_redis_url

COMMANDS: list[tuple[str, ...]] = [("ECHO", "a"), ("NONSENSE",), ("INCR", "counter"), ("ECHO", "b")]


@pytest.mark.parametrize("together", [True, False])
async def test_replies_come_in_order(redis_url: str, together: bool) -> None:
    pool = pool_to(parse_redis_url(redis_url))
    connection = await pool.get_connection()
    packed = [hiredis.pack_command(command) for command in COMMANDS]
    replies: list[Any] = []
    try:
        if together:
            await connection.send_packed_command(b"".join(packed))
            await read_replies(connection, len(packed), replies)
        else:
            for number, command in enumerate(packed, start=1):
                await connection.send_packed_command(command)
                await read_replies(connection, number, replies)
    finally:
        await pool.release(connection)
        await pool.aclose()
    first, error, number, last = replies
    assert (first, last) == (b"a", b"b")
    assert isinstance(error, ResponseError)
    assert isinstance(number, int)


async def test_a_redis_that_loads_its_data_is_no_reply() -> None:
    """As redis-py has it: this error is the connection's, not one command's."""
    parser = Connection()._parser
    reader = hiredis.Reader(replyError=parser.parse_error, notEnoughData=object())
    reader.feed(b"-LOADING Redis is loading the dataset in memory\r\n")

    async def read_response(**_: object) -> bytes:
        return b"first"

    connection: Any = SimpleNamespace(
        _parser=SimpleNamespace(_reader=reader), read_response=read_response
    )
    replies: list[Any] = []
    with pytest.raises(BusyLoadingError):
        await read_replies(connection, 2, replies)
    assert replies == [b"first"]
