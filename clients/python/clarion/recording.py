"""A gateway's stand-in for tests of handlers: it records what a handler asks of the gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from clarion_contract.events.audience import Audience, topic_audience
from clarion_contract.events.event import Published
from clarion_contract.texts.piece import Piece
from clarion_contract.texts.writer import Standing, Step, TextWriter, name_or_random
from clarion_gateway.application.codec import encode
from clarion_gateway.application.refusal import AskFailed


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event published by a handler, or by an interceptor such as `clarion.propagate`.

    Attributes:
        data: decoded from its JSON.
        exclude: id of the connection that does not receive the event; None: all receive it.
        history: whether clients that come back later get the event.
    """

    audience: Audience
    type: str
    data: Any
    exclude: str | None = None
    history: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a message.

    Attributes:
        data: the reply's data, decoded from its JSON.
        published: the published events, in order.
        sent: type and data of each ``context.send``, in order.
        asked: type and data of each ``context.ask``, in order.
        subscribed: the topics of each ``context.subscribe``, in order.
        unsubscribed: the topics of each ``context.unsubscribe``, in order.
        stopped: the names of the texts of each ``context.stop_stream``, in order.
    """

    data: Any
    published: Sequence[PublishedEvent]
    sent: Sequence[tuple[str, Any]] = ()
    asked: Sequence[tuple[str, Any]] = ()
    subscribed: Sequence[str] = ()
    unsubscribed: Sequence[str] = ()
    stopped: Sequence[str] = ()


class Recording:
    """A `clarion_gateway.application.context.Host` that keeps everything in lists.

    Args:
        answers: the client's answers to questions, by type.
    """

    def __init__(self, answers: Mapping[str, object] | None = None) -> None:
        self.published: list[PublishedEvent] = []
        self.sent: list[tuple[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.subscribed: list[str] = []
        self.unsubscribed: list[str] = []
        self.stopped: list[str] = []
        self._answers = answers or {}

    def answer(self, data: Any = None) -> Answer:  # noqa: ANN401
        """The record so far, with the data of the handler's reply."""
        return Answer(
            data,
            self.published,
            self.sent,
            self.asked,
            self.subscribed,
            self.unsubscribed,
            self.stopped,
        )

    async def subscribe(self, peer: object, topics: Sequence[str]) -> None:  # noqa: ARG002
        """See `clarion_gateway.application.context.Host`."""
        self.subscribed += topics

    async def unsubscribe(self, peer: object, topics: Sequence[str]) -> None:  # noqa: ARG002
        """See `clarion_gateway.application.context.Host`."""
        self.unsubscribed += topics

    async def send(
        self,
        peer: object,  # noqa: ARG002
        type_: str,
        data: bytes,
        parts: object = None,  # noqa: ARG002
    ) -> None:
        """See `clarion_gateway.application.context.Host`."""
        self.sent.append((type_, msgspec.json.decode(data)))

    async def ask(
        self,
        peer: object,  # noqa: ARG002
        type_: str,
        data: bytes,
        seconds: float,
        parts: object = None,  # noqa: ARG002
    ) -> bytes:
        """See `clarion_gateway.application.context.Host`."""
        self.asked.append((type_, msgspec.json.decode(data)))
        if type_ not in self._answers:
            raise AskFailed("ask_timeout", f"no answer within {seconds:g} seconds")
        return encode(self._answers[type_])

    def text(self, topic: str, type_: str, name: str | None) -> TextWriter:
        """See `clarion_gateway.application.context.Host`."""
        name = name_or_random(name)

        async def carry(step: Step) -> Standing:
            if name in self.stopped:
                return Standing("stopped")
            if step.seq:
                text = msgspec.json.decode(b'"%b"' % step.piece, type=str)
                piece = Piece(name, step.seq, step.seq == 1, step.state, text, step.reason)
                data = msgspec.to_builtins(piece)
                self.published.append(PublishedEvent(topic_audience(topic), type_, data))
            return Standing(step.state, step.reason)

        return TextWriter(carry, name)

    async def stop_text(self, topic: str, name: str) -> str | None:  # noqa: ARG002
        """See `clarion_gateway.application.context.Host`."""
        self.stopped.append(name)
        return "stopped"

    async def publish(
        self,
        audience: Audience,
        type_: str,
        data: bytes,
        *,
        exclude: str | None = None,
        history: bool = True,
    ) -> Published:
        """See `clarion_gateway.application.context.Host`."""
        self.published.append(
            PublishedEvent(audience, type_, msgspec.json.decode(data), exclude, history)
        )
        return Published(id=len(self.published), duplicate=False, gateways=1)
