"""Questions from one pod to another, and the answers, over Redis.

Load balancers send a request to any pod, also where only one pod can answer it. That pod is asked
on a stream of its own. Nothing is kept: a question that a pod does not hear has no answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec
import structlog

from clarion_contract.events.errors import BusUnavailable
from clarion_contract.redis.keyspace import Keyspace, relay_stream
from clarion_contract.service.supervisor import Spawn
from clarion_gateway.metrics.registry import Metrics

_ID_BYTES: Final = 9

_log = structlog.get_logger(__name__)


class NobodyListens(Exception):
    """No pod of that name listens."""


class Commanding(Protocol):
    """The part of `clarion_contract.bus.bus.Bus` that the relay uses."""

    async def command(self, *command: str | bytes | int) -> Any:  # noqa: ANN401 - as Redis has it
        """See `clarion_contract.bus.bus.Bus.command`."""
        ...


class _Question(msgspec.Struct, frozen=True, array_like=True, tag="question"):
    """A question of the pod ``back``."""

    id: str
    back: str
    body: bytes


class _Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """The answer to the question with that id."""

    id: str
    body: bytes


_decoder: msgspec.msgpack.Decoder[_Question | _Answer] = msgspec.msgpack.Decoder(
    _Question | _Answer
)


async def _answer_nothing(question: bytes) -> bytes:  # noqa: ARG001
    """Return nothing; the initial value of `Relay.answer`."""
    return b""


class Relay:
    """Asks other pods, and answers them.

    Attributes:
        answer: answers the question of another pod.
    """

    def __init__(
        self, bus: Commanding, keyspace: Keyspace, pod: str, metrics: Metrics, spawn: Spawn
    ) -> None:
        """Set up.

        Args:
            pod: this pod's name.
        """
        self.answer: Callable[[bytes], Awaitable[bytes]] = _answer_nothing
        self.stream = relay_stream(pod)
        self._bus = bus
        self._keyspace = keyspace
        self._pod = pod
        self._metrics = metrics
        self._spawn = spawn
        self._asked: dict[str, asyncio.Future[bytes]] = {}

    async def ask(self, pod: str, question: bytes, seconds: float) -> bytes:
        """Ask the pod of that name, and return its answer.

        Raises:
            NobodyListens: there is no such pod.
            TimeoutError: there was no answer in time. The pod may have got the question.
            BusUnavailable: Redis did not answer.
        """
        id_ = secrets.token_urlsafe(_ID_BYTES)
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[id_] = answered
        try:
            async with asyncio.timeout(seconds):
                if not await self._tell(pod, _Question(id_, self._pod, question)):
                    raise NobodyListens(f"expected the name of a pod that lives, got {pod}")
                return await answered
        finally:
            del self._asked[id_]

    def hear(self, payload: bytes) -> None:
        """Take a question to this pod, or the answer to one of its own."""
        try:
            message = _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            self._metrics.bus_messages_invalid.inc()
            _log.warning("not a question between pods", error=str(error))
            return
        if isinstance(message, _Question):
            self._spawn("relay", self._reply(message))
            return
        asked = self._asked.get(message.id)
        if asked is not None and not asked.done():
            asked.set_result(message.body)

    async def _reply(self, question: _Question) -> None:
        body = await self.answer(question.body)
        try:
            await self._tell(question.back, _Answer(question.id, body))
        except BusUnavailable as error:
            _log.warning("another pod was not answered", pod=question.back, error=str(error))

    async def _tell(self, pod: str, message: _Question | _Answer) -> int:
        """Send a message to a pod; returns the number of pods that have got it."""
        channel = self._keyspace.channel(relay_stream(pod))
        payload = msgspec.msgpack.encode(message)
        return int(await self._bus.command(self._keyspace.publish_command, channel, payload))
