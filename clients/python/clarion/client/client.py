"""`Client`: a lasting connection to a gateway, as applications see it.

`clarion.client.link` keeps the connection in a task of its own. The application takes the items at
its own pace.
"""

from __future__ import annotations

import asyncio
import random
import ssl as tls
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from clarion.client.address import websocket_url
from clarion.client.errors import RefusalError
from clarion.client.inbox import Inbox, Item
from clarion.client.items import Past, past_of
from clarion.client.link import Link
from clarion.client.questions import Answerer
from clarion.client.status import Status
from clarion.client.tokens import TokenFunction, Tokens
from clarion.client.transport import Transports, Wish
from clarion_gateway.application.codec import encode


class Client:
    """Follows the events of a gateway, as one user or anonymously.

    It comes back by itself and resumes, so that the application gets every event once and in order,
    or a `Refresh` that says that some may be missing.

    Args:
        url: a gateway, ``https://events.example.com``, with a path prefix if it has one
            (``https://example.com/realtime/``). With several, the next one is tried after a loss.
        get_token: makes a token (a JWT), or None for an anonymous connection. It is asked before
            each connection and before a token ends. If it raises, the client waits and asks again;
            if it raises `Stop`, the client closes.
        topics: topics to receive, apart from those of the token. The last value of a topic, where
            its rule has one, comes out of the iterator first.
        since: resume after this position.
        transport: ``auto``: WebSocket, and server-sent events where something on the way lets no
            WebSocket through; ``websocket``; ``sse``. Over server-sent events, messages go by
            POST, if the gateway takes them, and topics too; `login` and `logout`
            connect anew; the application's questions do not come.
        on_status: is called with each change of the status.
        ssl: the TLS context; None: the system's.
        jitter: returns a number between 0 and 1; spreads reconnects.

    Raises:
        ValueError: ``url`` is not the URL of a gateway, or there is no such transport.

    Example::

        async with Client("http://127.0.0.1:8001", get_token=lambda context: token) as client:
            reply = await client.send("chat.message", {"text": "hi"})
            async for item in client:
                print(item)
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        get_token: TokenFunction | None = None,
        topics: Sequence[str] = (),
        since: str | None = None,
        transport: Wish = "auto",
        on_status: Callable[[Status], None] | None = None,
        ssl: tls.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        urls = [websocket_url(each) for each in ([url] if isinstance(url, str) else url)]
        self._tokens = Tokens(get_token)
        self._inbox = Inbox(since)
        self._link = Link(
            urls,
            self._tokens,
            topics,
            self._inbox,
            on_status or _ignore,
            Transports(transport, ssl),
            jitter,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        """The client's present state."""
        return self._link.status

    @property
    def position(self) -> str | None:
        """The id of the last item that the application has finished: it asked for the next one.

        Store it with the effect of the event, and give it as ``since`` after a restart.
        """
        return self._inbox.position

    def connect(self) -> None:
        """Begin to connect. ``async with`` does so.

        Raises:
            RuntimeError: the client was connected before; make a new one.
        """
        if self._task is not None:
            raise RuntimeError("expected a client that was not connected before")
        self._task = asyncio.create_task(self._link.run(), name="clarion-client")

    async def close(self) -> None:
        """End the connection. Messages without an answer fail; the iteration ends."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)  # `status` says why it ended

    async def __aenter__(self) -> Self:
        self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Item]:
        """All items, until the client closes.

        Raises:
            ClosedError: the client closed for good, other than by `close`.
            RuntimeError: the client is not connected.
        """
        if self._task is None:
            raise RuntimeError("expected a connected client: use `async with Client(…) as client`")
        while (item := await self._inbox.get()) is not None:
            yield item
        if not self._task.cancelled():
            self._task.result()  # raises why it ended

    async def send(
        self,
        type_: str,
        data: Any = None,  # noqa: ANN401 - whatever has a JSON form
        *,
        timeout: float = 10.0,  # noqa: ASYNC109 - one bound for waiting, sending and the reply
    ) -> Any:  # noqa: ANN401 - whatever the handler replies
        """Send a message to the application's handler of its type; returns the reply.

        While the client connects, the message waits.

        Args:
            timeout: seconds for all of it.

        Raises:
            RefusalError: the gateway or the handler refused the message.
            NoAnswerError: no answer came; its ``sent`` says whether the handler may have run.
            TypeError: a part of ``data`` has no JSON form.

        Example: ``reply = await client.send("chat.message", {"text": "hi"})``.
        """
        fields = {"kind": "message", "type": type_, "data": msgspec.Raw(encode(data))}
        answer = await self._link.ask(fields, timeout)
        return msgspec.json.decode(answer.data)

    def on_ask(self, type_: str, answerer: Answerer) -> None:
        """Answer the application's questions of a type; a question without a function is refused.

        Args:
            answerer: gets the question's data, and returns the answer; it may be ``async``. If it
                raises `RefusalError`, the application gets its code and message.

        Example: ``client.on_ask("confirm", lambda data: input(data["text"]) == "yes")``.
        """
        self._link.questions.answerers[type_] = answerer

    async def subscribe(
        self, *topics: str, last: int | None = None, since: str | None = None
    ) -> Past:
        """Receive topics too, until `unsubscribe`. Fetch their state when it returns, not before.

        Args:
            last: return the newest events of each topic, so many.
            since: return the events after this id; not together with ``last``.

        Raises:
            RefusalError: ``forbidden``, or a code of the application's: the client may not receive
                one of them, the others it does; or the gateway refused, then nothing changed.
            NoAnswerError: no answer came; the next connection asks for them again.

        Example: ``past = await client.subscribe("room.lobby", last=20)``.
        """
        answer = await self._link.subscribe(topics, last, since)
        if answer.forbidden:
            raise RefusalError("forbidden", f"not granted: {', '.join(answer.forbidden)}")
        for each in answer.refused:
            raise RefusalError(each.code, f"{each.topic}: {each.message}")
        return past_of(answer)

    async def unsubscribe(self, *topics: str) -> None:
        """Receive topics no more. It raises what `subscribe` raises, but for ``forbidden``.

        Topics that the token lists stay.
        """
        await self._link.unsubscribe(topics)

    async def login(self) -> None:
        """Ask ``get_token`` for a token now, and speak for its user from then on.

        Raises:
            RefusalError: the gateway does not accept the token.
            NoAnswerError: no answer came.
        """
        self._tokens.is_anonymous = False
        await self._link.identify("login")

    async def logout(self) -> None:
        """Speak for nobody, until `login`. It raises what `login` raises."""
        self._tokens.is_anonymous = True
        await self._link.identify("login")


def _ignore(status: Status) -> None:
    """For applications that do not look at the status."""
