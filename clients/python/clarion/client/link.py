"""The client's task: connects, hears, resumes, and decides what to do after each end.

It reads in one table, `clarion_contract.protocol.tables`, what to do: come back, come back with a
fresh token, or stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from clarion.client.address import with_query
from clarion.client.calls import Calls
from clarion.client.connection import Connection, End, NotConnected
from clarion.client.errors import ClosedError, NoAnswerError, RefusalError, Stop
from clarion.client.inbox import Inbox
from clarion.client.items import Message, Refresh, event_of, past_of
from clarion.client.messages import NotAGateway, ServerMessage
from clarion.client.questions import Questions
from clarion.client.renewal import Renewal
from clarion.client.seen import Seen
from clarion.client.status import Closed, Connecting, Open, Status
from clarion.client.tokens import Reason, Tokens
from clarion.client.transport import Transports
from clarion.client.wanted import WantedTopics
from clarion_contract.protocol.backoff import backoff_seconds
from clarion_contract.protocol.tables import verdict

ANSWER_SECONDS: Final = 12.0
_BY_SSE: Final = "connected by server-sent events"


class Link:
    """The client's connection, and the task that keeps it."""

    def __init__(
        self,
        urls: Sequence[str],
        tokens: Tokens,
        topics: Sequence[str],
        inbox: Inbox,
        report: Callable[[Status], None],
        transports: Transports,
        jitter: Callable[[], float],
    ) -> None:
        self.status: Status = Closed("not connected yet", "closed")
        self.calls = Calls()
        self.questions = Questions()
        self._urls = urls
        self._tokens = tokens
        self._wanted = WantedTopics(topics)
        self._inbox = inbox
        self._report_to = report
        self._transports = transports
        self._jitter = jitter
        self._seen = Seen()
        # The position of the connection; the inbox holds what the application has not had.
        self._reached = inbox.position
        # The connection that came there. Events that exclude it must not come back to the client.
        self._origin: str | None = None
        self._failures = 0
        self._refused_tokens = 0
        self._reason: Reason = "connect"
        self._hint_seconds: float | None = None
        self._connection: Connection | None = None
        self._changed = asyncio.Event()
        self._ended: str | None = None
        self._again: str | None = None
        self._stop: Stop | None = None
        self._renewal = Renewal(partial(self.identify, "expiring"), self._stop_for, jitter)

    async def run(self) -> None:
        """Stay connected, until it makes no sense any more.

        Raises:
            ClosedError: it would end the same way again and again.
        """
        try:
            await self._keep()
        except ClosedError as error:
            self._report(Closed(error.reason, error.code))
            raise
        except asyncio.CancelledError:
            self._report(Closed("closed by the application", "closed"))
            raise
        finally:
            self._ended = f"the client is closed: {self.status.reason}"
            self._changed.set()
            self.calls.fail(self._ended)
            await self._inbox.end()

    async def ask(self, fields: dict[str, Any], timeout_seconds: float) -> ServerMessage:
        """Send a message, once there is a connection, and wait for its answer.

        Raises:
            RefusalError: the answer is an error.
            NoAnswerError: no answer came.
        """
        ref: int | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = await self._opened()
                if not connection.sends:
                    raise NoAnswerError(
                        f"{_BY_SSE}, to a gateway that takes no messages then", sent=False
                    )
                ref, answer = self.calls.begin()
                await self._inbox.hurry()  # the answer must come through, whatever waits before it
                settled = await connection.send({**fields, "ref": ref})
                if settled is not None:
                    self.calls.settle(settled)
                return await answer
        except TimeoutError:
            raise NoAnswerError("no answer in time", sent=ref is not None) from None
        finally:
            self.calls.forget(ref)

    async def identify(self, reason: Reason) -> None:
        """Speak for the user of a new token, or for nobody; raises what `ask` raises."""
        if not (await self._opened_within(ANSWER_SECONDS)).identifies:
            self._reason = reason
            await self._anew("the token changes")
            return
        token = await self._tokens.make(reason)
        await self.ask({"kind": "auth", "token": token}, ANSWER_SECONDS)

    async def subscribe(
        self, topics: Sequence[str], last: int | None, since: str | None
    ) -> ServerMessage:
        """Ask for topics now, and name them at each connection from here on; raises as `ask`."""
        try:
            # First: a name that the gateway refuses must not stand in the request to connect.
            connection = await self._opened_within(ANSWER_SECONDS)
        finally:
            before = self._wanted.add(topics)
        if not connection.subscribes:
            return await self._subscribe_anew(topics, before, last, since)
        try:
            fields = {"kind": "subscribe", "topics": topics, "last": last, "since": since}
            answer = await self.ask(fields, ANSWER_SECONDS)
        except RefusalError:
            self._wanted.names = before  # the next connection would be refused as well
            raise
        self._wanted.drop([*answer.forbidden, *(each.topic for each in answer.refused)])
        return answer

    async def unsubscribe(self, topics: Sequence[str]) -> None:
        """Give topics up, at later connections too; raises as `ask`."""
        self._wanted.drop(topics)
        if not (await self._opened_within(ANSWER_SECONDS)).subscribes:
            await self._anew("the topics change")
            return
        await self.ask({"kind": "unsubscribe", "topics": topics}, ANSWER_SECONDS)

    async def _subscribe_anew(
        self, topics: Sequence[str], before: Sequence[str], last: int | None, since: str | None
    ) -> ServerMessage:
        """Ask for topics by a new request; its ``welcome`` says what came of it."""
        if last is not None or since is not None:
            raise NoAnswerError(f"{_BY_SSE}, without the past of topics", sent=False)
        trial = self._wanted.on_trial(before)
        opened = await self._anew("the topics change")
        if trial.refusal is not None:
            raise RefusalError("invalid_topic", trial.refusal)
        forbidden = tuple(topic for topic in opened.forbidden if topic in topics)
        self._wanted.drop(forbidden)
        return ServerMessage("subscribed", forbidden=forbidden)

    async def _anew(self, why: str) -> Open:
        """End the connection, and wait for the next one; raises as `ask`."""
        self._again = why
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        await self._opened_within(ANSWER_SECONDS)
        if not isinstance(self.status, Open):
            raise NoAnswerError(self.status.reason, sent=True)
        return self.status

    async def _opened_within(self, seconds: float) -> Connection:
        try:
            async with asyncio.timeout(seconds):
                return await self._opened()
        except TimeoutError:
            raise NoAnswerError("not connected in time", sent=False) from None

    async def _opened(self) -> Connection:
        while self._connection is None:
            if self._ended is not None:
                raise NoAnswerError(self._ended, sent=False)
            self._changed.clear()
            await self._changed.wait()
        return self._connection

    async def _keep(self) -> None:
        """Connect again and again, to one address after the other."""
        turn, why = 0, "connecting"
        while True:
            url = self._urls[turn % len(self._urls)]
            self._report(Connecting(why, self._failures, None, url))
            end, was_open = await self._once(url)
            if self._again is not None:
                why, self._again = self._again, None
                continue
            if not was_open and self._wanted.refused(end):
                continue
            end = self._transports.judge(end, was_open=was_open)
            self.calls.fail(end.reason)
            why = end.reason
            turn += 1
            match verdict(end.code):
                case "token" if self._tokens.can_renew and (was_open or not self._refused_tokens):
                    self._refused_tokens += not was_open
                    self._reason = "refused"
                    continue
                case "token" | "stop":
                    raise ClosedError(end.reason, end.code)
                case "retry" if end.code == "not_a_gateway":
                    raise ClosedError(end.reason, end.code)
            wait = self._pause(end)
            self._report(Connecting(why, self._failures, wait, url))
            await asyncio.sleep(wait)

    def _pause(self, end: End) -> float:
        """The wait that the gateway asked for, or else exponential with full jitter."""
        wish = self._hint_seconds if self._hint_seconds is not None else end.after_seconds
        own = backoff_seconds(self._failures, self._jitter())
        self._failures += 1
        self._hint_seconds = None
        return own if wish is None else wish

    async def _once(self, url: str) -> tuple[End, bool]:
        """One connection, from its token to its end; and whether it had its ``welcome``."""
        try:
            token = await self._tokens.make(self._reason)
        except Stop as stop:
            raise _stopped(stop) from stop
        except Exception as error:  # noqa: BLE001 - the application's own, reported in the status
            return End(0, f"no token: {error or type(error).__name__}"), False
        address = with_query(url, self._wanted.names, self._reached, self._origin)
        try:
            async with self._transports.open(address, token) as connection:
                try:
                    end = await self._hear(connection)
                    return end, self._connection is not None
                finally:
                    self._connection = None
                    self._renewal.end()
                    self.questions.end()
        except NotConnected as error:
            return error.end, False
        except NotAGateway as error:
            return End("not_a_gateway", str(error)), False

    async def _hear(self, connection: Connection) -> End:
        """Take messages until the connection ends."""
        while (received := await connection.receive()) is not None:
            message, text = received
            match message.kind:
                case "welcome":
                    await self._welcomed(message, connection)
                case "event":
                    await self._event(message, text)
                case "message":
                    await self._inbox.put(Message(message.type, bytes(message.data)))
                case "ask":
                    self.questions.answer(message, connection.send)
                case "gap":
                    self._reach(message.id)
                    await self._inbox.put(Refresh("gap", message.id))
                case "reconnect":
                    self._hint_seconds = message.after_ms / 1000
                case "identity" | "reply" | "error" | "subscribed" | "unsubscribed":
                    await self._answered(message)
            await self._inbox.room(lambda: self.calls.any_waiting)
        if self._stop is not None:
            raise _stopped(self._stop)
        return connection.end

    async def _welcomed(self, welcome: ServerMessage, connection: Connection) -> None:
        self._failures = self._refused_tokens = 0
        self._wanted.accepted()
        self._reason = "connect"
        connection.expect_pings(welcome.ping_interval)
        self._connection = connection
        if welcome.resumed is not True:
            self._reached, self._origin = welcome.id, welcome.connection
        self._report(
            Open(
                "connected",
                welcome.user,
                welcome.connection,
                welcome.pod,
                welcome.resumed,
                welcome.topics,
                welcome.forbidden,
                welcome.not_resumed,
                self._transports.current,
            )
        )
        if welcome.resumed is not True:
            reason = "first" if welcome.resumed is None else "not_resumed"
            await self._inbox.put(Refresh(reason, welcome.id))  # type: ignore[arg-type]
        elif welcome.not_resumed:
            await self._inbox.put(Refresh("not_resumed", welcome.id, welcome.not_resumed))
        self._renew_later(welcome.expires_in)
        self._changed.set()

    async def _event(self, message: ServerMessage, text: str) -> None:
        self._reach(message.id)
        if self._seen.add(int(message.id), message.topic):
            await self._inbox.put(event_of(message, text))

    def _reach(self, id_: str) -> None:
        """Move on to an id that came on this connection."""
        self._reached = id_
        if isinstance(self.status, Open):
            self._origin = self.status.connection

    async def _answered(self, message: ServerMessage) -> None:
        if message.kind == "identity":
            if isinstance(self.status, Open):
                self._report(replace(self.status, user=message.user, topics=message.topics))
            self._renew_later(message.expires_in)
        elif message.kind == "subscribed":
            self._reach(message.id)
            self._report_topics(lambda had: (*had, *(t for t in message.topics if t not in had)))
            if message.ref is None:  # nobody asked: last values
                for event in past_of(message).events:
                    await self._inbox.put_past(event)
        elif message.kind == "unsubscribed":
            self._report_topics(lambda had: tuple(t for t in had if t not in message.topics))
        self.calls.settle(message)

    def _report_topics(self, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> None:
        if isinstance(self.status, Open):
            self._report(replace(self.status, topics=change(self.status.topics)))

    def _renew_later(self, expires_in: float | None) -> None:
        """Replace the token before it ends; the gateway's answer comes here again."""
        self._renewal.begin(expires_in if self._tokens.can_renew else None)

    async def _stop_for(self, stop: Stop) -> None:
        self._stop = stop
        if self._connection is not None:
            await self._connection.close()

    def _report(self, status: Status) -> None:
        self.status = status
        self._report_to(status)


def _stopped(stop: Stop) -> ClosedError:
    return ClosedError(str(stop) or "stopped by get_token", "stopped")
