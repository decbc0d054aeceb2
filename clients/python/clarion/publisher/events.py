"""An event to publish, its JSON, and the publisher's answer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from clarion.publisher.problems import Document, NotAPublisher, PublishError, problem_of
from clarion_contract.events.audience import Audience
from clarion_gateway.application.codec import encode

PATH: Final = "/v1/events"
BATCH_PATH: Final = "/v1/events:batch"
POSITION_PATH: Final = "/v1/position"
AnyAnswer = TypeVar("AnyAnswer")
_json: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish.

    Attributes:
        audience: `clarion.ALL`, `clarion.AUTHENTICATED`, ``clarion.user(…)``, ``clarion.topic(…)``.
        type: what happened, such as ``order.updated``.
        data: anything that can be written as JSON: plain values, data classes, msgspec structs,
            pydantic models; a `msgspec.Raw` is JSON already and stays as it is.
        key: the idempotency key, 1 to 255 characters. Give one if the program may try the same
            event again after a restart. Otherwise each event gets a random key, for its retries.
        exclude: id of a connection that does not receive the event.
        history: whether clients that come back later get the event. False is for what is soon out
            of date, such as cursors: only clients that are connected now get it.

    Example: ``NewEvent(user("alice"), "order.updated", {"id": 42}, key="order-42-sent")``.
    """

    audience: Audience
    type: str
    data: Any = None
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    exclude: str | None = None
    history: bool = True

    def encoded(self) -> bytes:
        """The event as the publisher's API takes it. Encode an event once: retries send the same.

        Raises:
            TypeError: a part of ``data`` has no JSON form.
        """
        fields: dict[str, object] = {
            "audience": _named(self.audience),
            "type": self.type,
            "data": msgspec.Raw(encode(self.data)),
            "key": self.key,
        }
        if self.exclude is not None:
            fields["exclude"] = self.exclude
        if not self.history:
            fields["history"] = False
        return _json.encode(fields)


def new_event(
    audience: Audience,
    type_: str,
    data: object,
    key: str | None,
    exclude: str | None,
    *,
    history: bool,
) -> NewEvent:
    """A `NewEvent`, with a key of its own where ``key`` is None."""
    if key is None:
        return NewEvent(audience, type_, data, exclude=exclude, history=history)
    return NewEvent(audience, type_, data, key, exclude, history)


class Receipt(msgspec.Struct, frozen=True):
    """The publisher's answer for one event.

    Attributes:
        id: the event's id, as its receivers see it.
        duplicate: an event with the same key was published before; ``id`` is that event's.
        gateways: how many gateways Redis passed the event on to.
    """

    id: str
    duplicate: bool
    gateways: int


class _Position(msgspec.Struct):
    id: str


class _Result(msgspec.Struct):
    """The result of one event of a batch."""

    status: int
    id: str = ""
    duplicate: bool = False
    gateways: int = 0
    problem: Document | None = None


class _Results(msgspec.Struct):
    results: list[_Result]


def batch_of(encoded: Sequence[bytes]) -> bytes:
    """The body of a request with several events."""
    return b'{"events":[' + b",".join(encoded) + b"]}"


def read_receipt(content: bytes) -> Receipt:
    """The answer to one event.

    Raises:
        NotAPublisher: the answer is something else.
    """
    return read(content, Receipt)


def read_position(content: bytes) -> str:
    """The answer to a question for a position.

    Raises:
        NotAPublisher: the answer is something else.
    """
    return read(content, _Position).id


def read_results(content: bytes, count: int) -> list[Receipt | PublishError]:
    """The answers to a batch of ``count`` events, in their order.

    Raises:
        NotAPublisher: the answer is something else.
    """
    results = read(content, _Results).results
    if len(results) != count:
        raise NotAPublisher(f"expected a publisher's results for {count} events")
    return [_outcome(result) for result in results]


def read(content: bytes, answer: type[AnyAnswer]) -> AnyAnswer:
    """The publisher's answer.

    Raises:
        NotAPublisher: the content is something else.
    """
    try:
        return msgspec.json.decode(content, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAPublisher(f"expected a publisher's answer, got something else: {error}") from None


def _outcome(result: _Result) -> Receipt | PublishError:
    if result.problem is not None:
        return problem_of(result.problem, result.status)
    return Receipt(result.id, result.duplicate, result.gateways)


def _named(audience: Audience) -> str | dict[str, str]:
    return {audience.kind: audience.name} if audience.named else audience.kind
