"""One HTTP exchange on plain ASGI: reads headers and body, sends the answer.

Bodies are read chunk by chunk, and never beyond their limits. Starlette's request object would read
them whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import structlog
from msgspec import Struct
from starlette.types import Receive, Scope, Send

from clarion_contract.identity.claims import Claims
from clarion_contract.service.telemetry import read_traceparent, traced_logs
from clarion_publisher.ingestion.refusal import Refusal
from clarion_publisher.sources.http.body_budget import BodyBudget, Share, owner_of
from clarion_publisher.sources.http.problems import (
    CONTENT_TYPE,
    INTERNAL,
    MALFORMED_REQUEST,
    UNSUPPORTED_MEDIA_TYPE,
    HttpRefusal,
    document_of,
    headers_of,
    row_of,
)

_log = structlog.get_logger(__name__)

_JSON: Final = b"application/json"
# Headers that must not be repeated: they decide on the caller, the type or the size, and a proxy in
# front may have read a different copy.
_SINGLE: Final = frozenset(
    {b"authorization", b"content-type", b"content-encoding", b"idempotency-key"}
)
# The same holds for each attribute of a CloudEvent in binary mode.
_SINGLE_PREFIX: Final = b"ce-"

Headers = Mapping[bytes, bytes]


class Disconnected(Exception):
    """The client went away before its whole body had arrived."""


class Answer(Struct, frozen=True):
    """The response to a client. A struct, because making a frozen data class costs 1 µs more.

    Attributes:
        outcome: metric label: ``published``, ``duplicate``, ``partial``, ``done`` or a problem's
            name.
        audience: metric label: an audience's kind, ``batch`` or ``unknown``. For requests other
            than publishing, the operation.
    """

    status: int
    body: bytes
    outcome: str
    audience: str
    content_type: str = "application/json"
    headers: Sequence[tuple[str, str]] = ()

    async def send(self, send: Send) -> None:
        """Send the response."""
        headers = [
            (b"content-type", self.content_type.encode()),
            (b"content-length", b"%d" % len(self.body)),
        ]
        headers += [(name.encode(), value.encode("latin-1")) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def refused(refusal: Refusal, audience: str) -> Answer:
    """The answer to a refused request."""
    return Answer(
        row_of(refusal).status,
        document_of(refusal),
        refusal.kind.name,
        audience,
        CONTENT_TYPE,
        headers_of(refusal),
    )


async def answered(work: Awaitable[Answer], audience: str, scope: Scope) -> Answer:
    """The answer of a handler, or the answer to its failure: a client always gets one.

    Raises:
        Disconnected: the client is gone.
    """
    try:
        return await work
    except Refusal as refusal:
        return refused(refusal, audience)
    except Disconnected:
        raise
    except Exception:  # noqa: BLE001 - the edge: one request's bug is no other's
        with traced_logs(read_traceparent(dict(scope["headers"]).get(b"traceparent"))):
            _log.exception("request failed by a bug", path=scope["path"])
        return bug_in(audience)


def bug_in(audience: str) -> Answer:
    """The answer to a request that failed by a bug."""
    bug = HttpRefusal(INTERNAL, "the publisher failed; it may have carried out the request")
    return refused(bug, audience)


def read_headers(scope: Scope) -> Headers:
    """The request's headers by lower-case name. Of a repeated header, the last one.

    Raises:
        Refusal: a header that must not be repeated is repeated.
    """
    raw: list[tuple[bytes, bytes]] = scope["headers"]
    headers = dict(raw)
    if len(headers) < len(raw):
        names = [name for name, _ in raw]
        for name in headers:
            single = name in _SINGLE or name.startswith(_SINGLE_PREFIX)
            if single and names.count(name) > 1:
                raise HttpRefusal(
                    MALFORMED_REQUEST, f"expected one {name.decode('latin-1')} header, got more"
                )
    return headers


class Bodies:
    """Reads bodies within the memory for all of them."""

    def __init__(self, *, max_bytes: int, total_max_bytes: int) -> None:
        self._budget = BodyBudget(max_bytes=max_bytes, total_max_bytes=total_max_bytes)

    @property
    def held_bytes(self) -> int:
        """Memory of all current bodies."""
        return self._budget.held_bytes

    def hold(self, caller: Claims) -> Body:
        """A context for reading one body; its memory counts until the context ends."""
        return Body(self.share(caller))

    def share(self, caller: Claims) -> Share:
        """The memory of one body; end it with `Share.let_go`."""
        return self._budget.hold(owner_of(caller))


class Body:
    """One request's body."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._share.let_go()

    async def read(self, headers: Headers, receive: Receive, *, json: bool = True) -> bytes:
        """The bytes of a request's body.

        Args:
            json: the content type must be JSON's; False: the caller has checked it.

        Raises:
            Refusal: the body has another content type, is compressed, or is too large, or all
                bodies together are.
            Disconnected: the client went away.
        """
        content_type = headers.get(b"content-type", b"")
        if json and content_type != _JSON:
            _check_type(content_type)
        if b"content-encoding" in headers:
            _check_encoding(headers[b"content-encoding"])
        length = int(headers.get(b"content-length", 0))  # the HTTP parser allows only digits
        self._share.announce(length)
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk: bytes = message.get("body", b"")
            self._share.arrive(len(chunk))
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_type(content_type: bytes) -> None:
    kind, _, parameters = content_type.lower().partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"")
    if kind.strip() != _JSON or charset not in {b"", b"charset=utf-8"}:
        got = content_type[:64].decode("latin-1") or "nothing"
        raise HttpRefusal(
            UNSUPPORTED_MEDIA_TYPE,
            f"expected the content type application/json in UTF-8, got {got}",
            headers=[("accept-post", "application/json")],
        )


def _check_encoding(encoding: bytes) -> None:
    if encoding.lower() != b"identity":
        raise HttpRefusal(
            UNSUPPORTED_MEDIA_TYPE,
            "expected a body without content encoding",
            headers=[("accept-encoding", "identity")],  # RFC 7694, section 3
        )
