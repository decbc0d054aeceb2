"""Reads the replies of a pipeline, without a coroutine for each.

redis-py reads one reply with three coroutines, 3 µs in all, whether it has to wait or not. A
pipeline's replies come together, so all but the first can be taken from hiredis' reader at once.
"""

from __future__ import annotations

import math
from typing import Any, Final

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

_PUSHES: Final = getattr(hiredis, "PushNotification", ())  # since hiredis 3.2


async def read_replies(connection: AbstractConnection, count: int, replies: list[Any]) -> None:
    """Append replies until there are ``count``. An error of Redis is appended in its place.

    Args:
        replies: holds what was read, also if this is cancelled.

    Raises:
        RedisError: the connection is lost.
        OSError: likewise.
    """
    while len(replies) < count:
        replies.append(await _reply(connection))
        if len(replies) < count:
            _take_buffered(connection, count, replies)


async def _reply(connection: AbstractConnection) -> object:
    try:
        return await connection.read_response(timeout=math.inf, disconnect_on_error=False)
    except ResponseError as error:
        return error


def _take_buffered(connection: AbstractConnection, count: int, replies: list[Any]) -> None:
    """Append the replies that have arrived already, as redis-py's parser for hiredis does."""
    reader = getattr(connection._parser, "_reader", None)  # noqa: SLF001 - no public way
    if not isinstance(reader, hiredis.Reader):
        return
    while len(replies) < count:
        reply: object = reader.gets()
        if reply is NOT_ENOUGH_DATA:
            return
        if isinstance(reply, RedisConnectionError):  # such as LOADING
            raise reply
        if not isinstance(reply, _PUSHES):
            replies.append(reply)
