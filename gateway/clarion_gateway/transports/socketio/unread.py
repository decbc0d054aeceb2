"""Answers that a client does not read: they count as what waits for slow clients.

Their session may have ended, or ask on by another TCP connection.
"""

from __future__ import annotations

import asyncio

from clarion_gateway.connections.close_codes import Close
from clarion_gateway.connections.connection import Connection, NoSocket
from clarion_gateway.connections.outbound import Backlog, Outbound
from clarion_gateway.wire.socketio.format import SOCKETIO


class _Unread(NoSocket):
    """The client of an answer that the kernel does not take: its TCP connection."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def cut(self, close: Close) -> None:  # noqa: ARG002
        """See `clarion_gateway.connections.connection.Connection.cut`."""
        self._transport.abort()


def backlog(outbound: Outbound, transport: asyncio.Transport) -> Backlog:
    """Count what a TCP connection has not taken, until `Backlog.end`."""
    client = Connection(SOCKETIO, _Unread(transport))
    begun = outbound.behind(client, transport.get_write_buffer_size)
    begun.begin()
    return begun
