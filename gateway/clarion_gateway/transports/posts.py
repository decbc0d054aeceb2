"""``POST /sse``: clients of event streams send messages and ask for topics, one by each request."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clarion_gateway.clients.origins import readable_by
from clarion_gateway.clients.posting import (
    ANSWERED,
    FULL,
    UNKNOWN,
    Post,
    PostAnswer,
    Posting,
    too_large,
)
from clarion_gateway.clients.sessions import Sessions
from clarion_gateway.transports.request import ConnectionRequest, refused_origin

_RETRY: Final = {"retry-after": "1"}


class Posts:
    """The endpoint."""

    def __init__(self, posting: Posting, sessions: Sessions) -> None:
        self._posting = posting
        self._sessions = sessions
        self._max_bytes = sessions.settings.message_max_bytes

    async def answer(self, request: Request) -> Response:
        """The reply of the message's handler; nothing if the stream answers; or a problem."""
        if request.method != "POST":
            raise HTTPException(405, "expected GET or POST", {"Allow": "GET, POST"})
        asked = ConnectionRequest.decoded(
            request.scope["raw_path"], request.scope["query_string"], request.headers.raw
        )
        peer = request.client.host if request.client else ""
        detail = refused_origin(self._sessions, asked, peer)
        if detail is None:
            answer = await self._read(asked, request)
        else:
            answer = PostAnswer(403, "forbidden_origin", detail)
        self._sessions.metrics.posts.labels(answer.outcome).inc()
        if answer.outcome == ANSWERED:
            return Response(answer.body, answer.status, media_type="application/json")
        return _problem(answer, asked.header("origin"))

    async def _read(self, asked: ConnectionRequest, request: Request) -> PostAnswer:
        """Read the body, within the pod's budget for what clients send, and answer it."""
        connection = asked.field("connection")
        if connection is None:
            return UNKNOWN
        inbound, held_bytes = self._sessions.inbound, 0
        pieces: list[bytes] = []
        try:
            async for piece in request.stream():
                if held_bytes + len(piece) > self._max_bytes:
                    return too_large(self._max_bytes)
                if not inbound.take(len(piece)):
                    return FULL
                held_bytes += len(piece)
                pieces.append(piece)
            token = asked.opening().token
            post = Post(connection, asked.field("pod"), token, b"".join(pieces))
            return await self._posting.answer(post)
        finally:
            inbound.give_back(held_bytes)


def _problem(answer: PostAnswer, origin: str | None) -> Response:
    """A problem document (RFC 9457) with the refusal's code."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(answer.status).phrase,
        "status": answer.status,
        "code": answer.outcome,
        "detail": answer.detail,
    }
    headers = dict(readable_by(origin))
    if answer.status in {429, 503}:
        headers |= _RETRY
    if answer.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body, answer.status, headers, media_type="application/problem+json")
