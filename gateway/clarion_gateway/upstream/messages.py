"""Leads clients' messages of some types to the backend, and its answers back.

To `clarion_gateway.clients.inbox`, the backend is a handler like others: it gets a message and its
context, and returns the reply's bytes. The messages of one connection come one at a time and in
order, as for all handlers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw

from clarion_contract.events.event import InvalidEvent, Publication
from clarion_gateway.application.answering import Route
from clarion_gateway.application.checked_queue import Publisher
from clarion_gateway.application.context import Context
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.application.scope import Scope
from clarion_gateway.upstream.answers import UpstreamAnswer
from clarion_gateway.upstream.backend import Backend, UpstreamFailed

EVERY_TYPE: Final = "*"
MESSAGE: Final = "clarion.message"
"""The CloudEvent's type for a client's message; the message's own type is ``clariontype``."""

_UNAVAILABLE: Final = "the application does not answer, try again"


class UpstreamMessages:
    """The route of the messages that go to the backend.

    Args:
        publisher: of the events in the backend's answers.
        types: of messages; ``*`` means each type that has no handler in the gateway.
        source: the CloudEvents' source.
    """

    def __init__(
        self, backend: Backend, publisher: Publisher, types: Sequence[str], *, source: str
    ) -> None:
        self._backend = backend
        self._publisher = publisher
        self._types = frozenset(types)
        self._every = EVERY_TYPE in self._types
        self._source = source
        self._route = Route(self._call, bytes, (), Scope())

    def find(self, type_: str) -> Route | None:
        """The route of a message type; None: such messages do not go to the backend."""
        return self._route if self._every or type_ in self._types else None

    async def _call(self, data: bytes, context: Context) -> Raw:
        id_ = f"msg_{os.urandom(12).hex()}"
        body = message_event(id_, self._source, data, context)
        client = context.connection if context.user is None else f"user:{context.user}"
        try:
            answer = await self._backend.call(client, id_, body)
            if answer.refuse is not None:
                raise Refusal(answer.refuse.code, answer.refuse.message)
            await self._publish(answer)
        except InvalidEvent as error:
            self._backend.complain(error)
            raise Refusal("internal", "the handler failed") from None
        except UpstreamFailed as failed:
            if failed.temporary or failed.outcome == "circuit_open":
                raise Refusal("unavailable", _UNAVAILABLE) from None
            raise Refusal("internal", "the handler failed") from None
        return answer.reply

    async def _publish(self, answer: UpstreamAnswer) -> None:
        for each in answer.publish:
            await self._publisher.publish(
                Publication(
                    each.recipients(),
                    each.type,
                    bytes(each.data),
                    exclude=each.exclude,
                    history=each.history,
                )
            )


def message_event(id_: str, source: str, data: bytes, context: Context) -> bytes:
    """A client's message as a CloudEvent in JSON.

    Args:
        data: JSON text, passed on byte for byte.
    """
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": MESSAGE,
        "time": _time(int(time.time())),
        "datacontenttype": "application/json",
        "clariontype": context.type,
        "clarionconnection": context.connection,
    }
    if context.user is not None:
        event["clarionuser"] = context.user
    event["data"] = Raw(data)
    return msgspec.json.encode(event)


@lru_cache(maxsize=4)
def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
