"""Messages that clients of event streams send by POST.

The request comes to any pod, and the stream is on one. That pod hands a message to its handler as
if it had come by the stream; the reply is the answer to the request. Topics that a client asks for
or gives up are answered by the stream itself, so that the answer stands between the events.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from clarion_contract.events.errors import BusUnavailable, KeysUnavailable
from clarion_gateway.bus.relay import NobodyListens, Relay
from clarion_gateway.clients.identification import Identification
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.hub import Hub
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.wire.messages import Malformed, Message, Posted, Subscribe, Unsubscribe
from clarion_gateway.wire.native import BARE
from clarion_gateway.wire.sse import SSE

# More than a handler may take: messages of the same client may wait before this one.
_SPARE_SECONDS: Final = 5.0
# The HTTP server ends a request without an answer after a minute.
_WAIT_MAX_SECONDS: Final = 50.0


class PostAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a message by POST.

    Attributes:
        status: HTTP status; 202: the stream will bring the answer.
        outcome: ``answered``, or a refusal's code; a label of ``clarion_posts_total``.
        detail: for people; empty if the message was answered.
        body: a ``reply`` or an ``error`` of the protocol, as JSON; empty if the stream answers.
    """

    status: int
    outcome: str
    detail: str = ""
    body: bytes = b""


ANSWERED: Final = "answered"
"""The outcome of a message that has a reply, or an error of its handler."""

ACCEPTED: Final = PostAnswer(202, ANSWERED)
UNKNOWN: Final = PostAnswer(
    404, "unknown_connection", "expected an event stream that is open, by its connection and pod"
)
OTHER_USER: Final = PostAnswer(403, "other_user", "expected a token of the event stream's user")
RATE_LIMITED: Final = PostAnswer(429, "rate_limited", "too many messages, try again later")
FULL: Final = PostAnswer(503, "inbound_full", "too many messages are under way, try again later")
UNAVAILABLE: Final = PostAnswer(503, "unavailable", "the event bus is unavailable, try again")
NO_ANSWER: Final = PostAnswer(504, "no_answer", "no answer in time; the handler may have run")


class _Question(msgspec.Struct, frozen=True, array_like=True):
    """A message for a stream that another pod has.

    Attributes:
        topics: a ``subscribe`` or ``unsubscribe`` as the client wrote it; empty: it is a
            ``message``. To an older pod that is a message without a type, which it refuses.
    """

    connection: str
    user: str | None
    type: str
    data: bytes
    ref: bytes
    topics: bytes = b""


@dataclass(frozen=True, slots=True)
class Post:
    """A request.

    Attributes:
        connection: the stream's, as in its ``$welcome``.
        pod: that has the stream; None: the one that the request has come to.
        token: a JWT of the stream's user; None for an anonymous stream.
        body: a ``message``, ``subscribe`` or ``unsubscribe`` of the protocol.
    """

    connection: str
    pod: str | None
    token: str | None
    body: bytes


class Posting:
    """Takes messages by POST to their handlers, on whatever pod."""

    def __init__(
        self,
        identification: Identification,
        hub: Hub,
        sessions: Sessions,
        relay: Relay,
        metrics: Metrics,
        settings: GatewaySettings,
    ) -> None:
        self._identification = identification
        self._hub = hub
        self._sessions = sessions
        self._relay = relay
        self._metrics = metrics
        self._pod = settings.pod
        self._wait_seconds = min(settings.handler_seconds + _SPARE_SECONDS, _WAIT_MAX_SECONDS)

    async def answer(self, post: Post) -> PostAnswer:
        """Hand a message to its handler; returns the reply, or why there is none."""
        try:
            _, identity, _ = await self._identification.identify(post.token)
            question = _question(post, identity.user)
            if post.pod in (None, self._pod):
                return await self._handled(question)
            return await self._elsewhere(post.pod or "", question)
        except Refused as refused:
            close = refused.close
            return PostAnswer(close.status, close.label, close.reason)
        except Malformed as malformed:
            return PostAnswer(400, malformed.code, str(malformed))
        except (BusUnavailable, KeysUnavailable):
            return UNAVAILABLE

    async def asked(self, question: bytes) -> bytes:
        """Answer another pod."""
        try:
            answer = await self._handled(msgspec.msgpack.decode(question, type=_Question))
        except (msgspec.MsgspecError, Malformed) as error:
            answer = PostAnswer(400, Malformed.code, str(error))
        return msgspec.msgpack.encode(answer)

    async def _elsewhere(self, pod: str, question: _Question) -> PostAnswer:
        self._metrics.posts_relayed.inc()
        try:
            answer = await self._relay.ask(
                pod, msgspec.msgpack.encode(question), self._wait_seconds + _SPARE_SECONDS
            )
            return msgspec.msgpack.decode(answer, type=PostAnswer)
        except NobodyListens:
            return UNKNOWN
        except TimeoutError:
            return NO_ANSWER

    async def _handled(self, question: _Question) -> PostAnswer:
        """Take a message as if the stream's client had sent it by its stream.

        Raises:
            Malformed: another pod has sent something else.
        """
        connection = self._hub.find(question.connection)
        if connection is None or connection.format is not SSE:
            return UNKNOWN
        if connection.user != question.user:
            return OTHER_USER
        if not self._sessions.may_post(connection):
            return RATE_LIMITED
        if question.topics:
            self._sessions.take(connection, _decoded(question.topics), len(question.topics))
            return ACCEPTED
        answered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def answer(body: bytes | None) -> None:
            if not answered.done():
                answered.set_result(body)

        message = Posted(question.type, question.data, question.ref, answer)
        self._sessions.take(connection, message, len(question.data))
        try:
            async with asyncio.timeout(self._wait_seconds):
                body = await answered
        except TimeoutError:
            return NO_ANSWER
        return UNKNOWN if body is None else PostAnswer(200, ANSWERED, body=body)


def too_large(limit_bytes: int) -> PostAnswer:
    """The refusal of a message that is too large."""
    return PostAnswer(413, "too_large", f"expected messages of at most {limit_bytes} bytes")


def _question(post: Post, user: str | None) -> _Question:
    """The message in a request.

    Raises:
        Malformed: there is none.
    """
    message = _decoded(post.body)
    if isinstance(message, Message):
        return _Question(post.connection, user, message.type, message.data, message.ref)
    return _Question(post.connection, user, "", b"", message.ref, post.body)


def _decoded(body: bytes) -> Message | Subscribe | Unsubscribe:
    try:
        body.decode()  # the format passes parts of it on without decoding them
    except UnicodeDecodeError:
        raise Malformed("expected valid UTF-8") from None
    message = BARE.decode(body)
    if not isinstance(message, Message | Subscribe | Unsubscribe):
        raise Malformed("expected a message, subscribe or unsubscribe: by POST nothing else goes")
    return message
