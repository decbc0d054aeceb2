"""One connection to a gateway by server-sent events: for networks that let no WebSocket through.

Messages to handlers and topics go by POST, if the gateway takes them; the stream brings the answer
about topics. New tokens go with the request for the next stream, and so do topics otherwise.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import msgspec

from clarion.client.address import OF_THE_CLIENT
from clarion.client.connection import (
    OPEN_SECONDS,
    End,
    NotConnected,
    deaf_seconds,
    refused,
    unreachable,
)
from clarion.client.errors import NoAnswerError
from clarion.client.messages import NotAGateway, ServerMessage, read_message
from clarion.client.stream import StreamReader
from clarion.local import is_local

_json: Final = msgspec.json.Encoder()
_MEDIA_TYPE: Final = "text/event-stream"
# By the problem's code, where no handler has answered: whether one may have run.
_LOST: Final = {"unknown_connection": False, "no_answer": True}
_REFUSAL_MAX_BYTES: Final = 65_536
# Beyond this the stream is read no further, until the client has taken some.
_MAX_WAITING: Final = 64


class EventStream:
    """An open event stream. See `clarion.client.connection.Connection`."""

    identifies = False

    def __init__(self, client: httpx.AsyncClient, response: httpx.Response) -> None:
        self._client = client
        self._request = response.request
        self._post_url: httpx.URL | None = None
        self._deaf_seconds: float | None = OPEN_SECONDS  # until `welcome` says better
        self._silent = False
        self._reader = StreamReader()
        self._failure: NotAGateway | None = None
        self._texts: asyncio.Queue[str | None] = asyncio.Queue(_MAX_WAITING)
        self._reading = asyncio.create_task(self._read(response), name="clarion-stream")

    def expect_pings(self, interval_seconds: float | None) -> None:
        """Give the connection up when two pings in a row are missing; None: no pings come."""
        self._deaf_seconds = deaf_seconds(interval_seconds)

    @property
    def sends(self) -> bool:
        """Whether the gateway takes messages by POST: its ``welcome`` has said so."""
        return self._post_url is not None

    @property
    def subscribes(self) -> bool:
        """Whether topics go by POST, as messages do."""
        return self.sends

    async def send(self, fields: dict[str, Any]) -> ServerMessage | None:
        """Send a message by a request of its own; returns the answer, unless the stream brings it.

        Raises:
            NoAnswerError: no handler has answered.
        """
        headers = {"Content-Type": "application/json"}
        if (token := self._request.headers.get("Authorization")) is not None:
            headers["Authorization"] = token
        try:
            answer = await self._client.post(
                self._post_url or self._request.url, content=_json.encode(fields), headers=headers
            )
        except httpx.HTTPError as error:
            raise NoAnswerError(str(error) or type(error).__name__, sent=True) from None
        if answer.status_code == httpx.codes.ACCEPTED:
            return None
        return answer_of(answer.status_code, answer.content, fields.get("ref"))

    async def receive(self) -> tuple[ServerMessage, str] | None:
        """The next message and its text; None: the stream has ended.

        Raises:
            NotAGateway: something else answers.
        """
        try:
            async with asyncio.timeout(self._deaf_seconds):
                text = await self._texts.get()
        except TimeoutError:
            self._silent = True
            return None
        if text is None:
            if self._failure is not None:
                raise self._failure
            return None
        message = read_message(text)
        if message.kind == "welcome" and message.messages == "post":
            self._post_url = _post_url(self._request.url, message)
        return message, text

    async def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        while not self._texts.empty():  # those that come again, at the same position
            self._texts.get_nowait()
        self._texts.put_nowait(None)

    @property
    def end(self) -> End:
        """Why it has ended."""
        if self._silent:
            return End(0, f"nothing heard for {self._deaf_seconds:g} s")
        return self._reader.end

    async def _read(self, response: httpx.Response) -> None:
        try:
            async for data in response.aiter_bytes():
                for text in self._reader.feed(data):
                    await self._texts.put(text)
        except httpx.HTTPError:  # the connection is lost, which is a way to end
            pass
        except NotAGateway as error:
            self._failure = error
        await self._texts.put(None)


@asynccontextmanager
async def by_event_stream(
    url: str, token: str | None, tls: ssl.SSLContext | None
) -> AsyncIterator[EventStream]:
    """An open event stream until the context ends.

    Raises:
        NotConnected: there is none.
    """
    headers = {"Accept": _MEDIA_TYPE, "Cache-Control": "no-store"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    timeout = httpx.Timeout(OPEN_SECONDS, read=None)
    async with httpx.AsyncClient(
        verify=tls or True, timeout=timeout, trust_env=not is_local(url)
    ) as client:
        request = client.build_request("GET", url, headers=headers)
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                response = await client.send(request, stream=True)
                await _check(url, response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise NotConnected(unreachable(url, _cause(error))) from None
        stream = EventStream(client, response)
        try:
            yield stream
        finally:
            await stream.close()
            await response.aclose()


def _post_url(stream: httpx.URL, welcome: ServerMessage) -> httpx.URL:
    """The address for messages of a stream; it keeps the query of the application's own URL."""
    own = [pair for pair in stream.params.multi_items() if pair[0] not in OF_THE_CLIENT]
    named = [("connection", welcome.connection), ("pod", welcome.pod)]
    return stream.copy_with(params=httpx.QueryParams([*own, *named]))


def answer_of(status: int, body: bytes, ref: object) -> ServerMessage:
    """The answer to a message that went by POST.

    Raises:
        NoAnswerError: no handler has answered.
    """
    try:
        if status == httpx.codes.OK:
            return read_message(body)
        problem = msgspec.json.decode(body, type=_Problem)
    except (NotAGateway, msgspec.DecodeError):  # a proxy's own page
        raise NoAnswerError(f"the message was answered with status {status}", sent=True) from None
    if problem.code in _LOST:
        raise NoAnswerError(problem.detail, sent=_LOST[problem.code])
    code = problem.code or str(status)
    return ServerMessage("error", ref=ref, code=code, message=problem.detail)


class _Problem(msgspec.Struct):
    """A problem document (RFC 9457)."""

    code: str = ""
    detail: str = ""


def _cause(error: Exception) -> Exception:
    """The error of TLS that httpx has wrapped, or else its own."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):
            return inner
        inner = inner.__cause__ or inner.__context__
    return error


async def _check(url: str, response: httpx.Response) -> None:
    """Return if the answer is an event stream.

    Raises:
        NotConnected: it is something else.
    """
    if response.status_code == httpx.codes.OK:
        if response.headers.get("Content-Type", "").startswith(_MEDIA_TYPE):
            return
        await response.aclose()
        raise NotConnected(End("not_a_gateway", f"{url.partition('?')[0]} is no event stream"))
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > _REFUSAL_MAX_BYTES:
            break
    await response.aclose()
    after = response.headers.get("Retry-After", "")
    raise NotConnected(refused(url, response.status_code, body, after))
