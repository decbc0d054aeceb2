"""The items of a client: events, messages, and the news that the state must be fetched anew."""

from __future__ import annotations

import builtins
import json as json_
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

from clarion.client.messages import ServerMessage, read_message

AnyType = TypeVar("AnyType")


@dataclass(frozen=True, slots=True)
class Event:
    """An event.

    Attributes:
        id: the position that this event stands for. Digits; ids rise.
        type: what happened, such as ``order.updated``.
        json: the data as JSON, as the producer wrote it.
        time: when it was published. RFC 3339, UTC, microseconds.
        audience: ``all``, ``authenticated``, ``user`` or ``topic``; empty: by server-sent events,
            which say it of topics only.
        topic: the topic's name; None: the audience is another.
        text: the whole message, as it comes on a WebSocket.
    """

    id: str
    type: str
    json: bytes = field(repr=False)
    time: str
    audience: str
    topic: str | None
    text: str = field(repr=False, compare=False)

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the producer wrote
        """The data, decoded."""
        return json_.loads(self.json)

    def read(self, type_: builtins.type[AnyType]) -> AnyType:
        """The data as a pydantic model, a data class or any type that pydantic knows.

        Raises:
            pydantic.ValidationError: the data have another form.

        Example: ``order = event.read(Order)``.
        """
        return cast("TypeAdapter[AnyType]", _adapter(cast("Any", type_))).validate_json(self.json)


@dataclass(frozen=True, slots=True)
class Past:
    """The events that were published to topics before the client subscribed to them.

    Attributes:
        events: in the order of their ids. None of them comes out of the iterator as well.
        not_resumed: topics of which nothing stands here: the history does not reach back so far, or
            there is too much.
    """

    events: tuple[Event, ...] = ()
    not_resumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the application for this connection only. It comes once and is not repeated.

    Attributes:
        json: the data as JSON.
    """

    type: str
    json: bytes = field(repr=False)

    @property
    def data(self) -> Any:  # noqa: ANN401 - whatever the application sent
        """The data, decoded."""
        return json_.loads(self.json)


@dataclass(frozen=True, slots=True)
class Refresh:
    """The application must fetch its state anew; the events after ``id`` follow.

    Fetch it when you get this, not before: then nothing falls between the state and the events.

    Attributes:
        reason: ``first``: the first connection. ``not_resumed``: the client was away for longer
            than the history reaches. ``gap``: the gateway's Redis lost events.
        topics: the state of these topics only; empty: all of it.
    """

    reason: Literal["first", "not_resumed", "gap"]
    id: str
    topics: tuple[str, ...] = ()


def event_of(message: ServerMessage, text: str) -> Event:
    """The event in a message."""
    return Event(
        message.id,
        message.type,
        bytes(message.data),
        message.time,
        message.audience,
        message.topic,
        text,
    )


def past_of(answer: ServerMessage) -> Past:
    """The past in the answer to a ``subscribe``."""
    texts = [bytes(raw).decode() for raw in answer.events]
    return Past(tuple(event_of(read_message(text), text) for text in texts), answer.not_resumed)


@lru_cache(maxsize=256)
def _adapter(type_: type) -> TypeAdapter[Any]:
    """Making one takes far longer than using it."""
    return TypeAdapter(type_)
