"""One question to the backend and its answer: a CloudEvent goes out, events may come back."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import msgspec
from msgspec import Raw

from clarion_contract.events.event import InvalidEvent, Publication
from clarion_gateway.application.checked_queue import Publisher
from clarion_gateway.application.context import ClientContext
from clarion_gateway.application.refusal import Refusal
from clarion_gateway.upstream.answers import ToPublish
from clarion_gateway.upstream.backend import Backend, UpstreamFailed


class Exchange:
    """Asks the backend, and does what it answers.

    Args:
        publisher: of the events in the backend's answers.
        source: the CloudEvents' source.
    """

    def __init__(self, backend: Backend, publisher: Publisher, *, source: str) -> None:
        self._backend = backend
        self._publisher = publisher
        self._source = source

    async def ask(
        self, kind: str, context: ClientContext, data: bytes, type_: str | None = None
    ) -> Raw:
        """Send one event about a client's connection, and return the reply.

        Args:
            kind: the CloudEvent's type.
            data: JSON text, passed on byte for byte.
            type_: of the client's message.

        Raises:
            Refusal: the backend refuses, or the connection would receive too many topics.
            UpstreamFailed: there is no usable answer.
            BusUnavailable: Redis does not take an event of the answer.
        """
        id_ = f"msg_{os.urandom(12).hex()}"
        about = {"clarionconnection": context.connection}
        if type_ is not None:
            about["clariontype"] = type_
        if context.user is not None:
            about["clarionuser"] = context.user
        body = cloudevent(id_, self._source, kind, about, data)
        client = context.connection if context.user is None else f"user:{context.user}"
        answer = await self._backend.call(client, id_, body)
        if answer.refuse is not None:
            raise Refusal(answer.refuse.code, answer.refuse.message)
        if answer.unsubscribe:
            await context.unsubscribe(*answer.unsubscribe)
        if answer.subscribe:  # first, so that the client gets what is published to its new topics
            await context.subscribe(*answer.subscribe)
        await self._publish(answer.publish)
        return answer.reply

    async def tell(self, id_: str, kind: str, client: str, data: bytes) -> None:
        """Send one event that is not about a client's connection, and publish what comes back.

        Args:
            id_: of the event; the same if it is sent again.
            kind: the CloudEvent's type.
            client: calls for one client share a bound.
            data: JSON text.

        Raises:
            UpstreamFailed: there is no usable answer.
            BusUnavailable: Redis does not take an event of the answer.
        """
        body = cloudevent(id_, self._source, kind, {}, data)
        answer = await self._backend.call(client, id_, body)
        await self._publish(answer.publish)

    async def _publish(self, events: Sequence[ToPublish]) -> None:
        for each in events:
            publication = Publication(
                each.recipients(),
                each.type,
                bytes(each.data),
                exclude=each.exclude,
                history=each.history,
            )
            try:
                await self._publisher.publish(publication)
            except InvalidEvent as error:
                self._backend.complain(error)
                raise UpstreamFailed("invalid_answer", str(error), temporary=False) from None


def cloudevent(id_: str, source: str, kind: str, about: Mapping[str, str], data: bytes) -> bytes:
    """A CloudEvent in JSON.

    Args:
        about: extension attributes.
    """
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": id_,
        "source": source,
        "type": kind,
        "time": _time(int(time.time())),
        "datacontenttype": "application/json",
        **about,
        "data": Raw(data),
    }
    return msgspec.json.encode(event)


@lru_cache(maxsize=4)
def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
