"""The answers of a backend: a reply, events to publish, topics, or a refusal. Pure.

{"reply": {"ok": true}, "publish": [{"audience": "all", "type": "news", "data": 1}],
 "subscribe": ["room.1"]}
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from clarion_contract.events.audience import Audience, UnknownKind, parse_audience
from clarion_contract.events.event import CONNECTION_ID_PATTERN, TYPE_PATTERN, to_the_end
from clarion_contract.events.naming import InvalidName
from clarion_contract.events.nesting import check_nesting
from clarion_contract.events.surrogates import has_lone
from clarion_contract.events.topic import check_topic


class InvalidAnswer(ValueError):
    """An answer that is none; the text says what was expected."""


class ToPublish(Struct, frozen=True, forbid_unknown_fields=True):
    """An event to publish.

    Attributes:
        audience: ``"all"``, ``"user:alice"``, or ``{"user": "alice"}``, as producers write it.
        exclude: id of a connection that must not get the event, such as the sender's.
        history: whether clients that come back later get the event.
    """

    audience: str | dict[str, str]
    type: Annotated[str, Meta(pattern=to_the_end(TYPE_PATTERN))]
    data: Raw = Raw(b"null")
    exclude: Annotated[str, Meta(pattern=to_the_end(CONNECTION_ID_PATTERN))] | None = None
    history: bool = True

    def recipients(self) -> Audience:
        """The audience.

        Raises:
            InvalidAnswer: there is no such audience.
        """
        text = self.audience
        if isinstance(text, dict):
            if len(text) != 1:
                raise InvalidAnswer("expected one kind of audience in publish")
            ((kind, name),) = text.items()
            text = f"{kind}:{name}"
        try:
            return parse_audience(text)
        except (InvalidName, UnknownKind) as error:
            raise InvalidAnswer(str(error)) from None


class Refuse(Struct, frozen=True, forbid_unknown_fields=True):
    """A refusal, for the sender."""

    code: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
    message: Annotated[str, Meta(max_length=1_000)] = ""


class UpstreamAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer. With `refuse`, nothing else of it counts.

    Attributes:
        subscribe: names of topics that the connection receives from now on.
        unsubscribe: names of topics that it receives no more.
    """

    reply: Raw = Raw(b"null")
    publish: list[ToPublish] = []
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    refuse: Refuse | None = None


_ANSWER = msgspec.json.Decoder(UpstreamAnswer)


def decode_answer(body: bytes) -> UpstreamAnswer:
    """The answer in a response's body; an empty one says nothing, so its reply is ``null``.

    Raises:
        InvalidAnswer: it is no JSON, or has other fields.
    """
    if not body:
        return UpstreamAnswer()
    try:
        body.decode()  # msgspec does not check inside raw parts
        answer = _ANSWER.decode(body)
        check_nesting(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        reason = "half a surrogate pair" if has_lone(body) else str(error)
        raise InvalidAnswer(f'expected an answer such as {{"reply": …}}: {reason}') from None
    for event in answer.publish:  # before anything of the answer is carried out
        event.recipients()
    try:
        for name in (*answer.subscribe, *answer.unsubscribe):
            check_topic(name)
    except InvalidName as error:
        raise InvalidAnswer(str(error)) from None
    return answer
