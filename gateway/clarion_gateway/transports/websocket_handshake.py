"""The opening handshake of a WebSocket (RFC 6455, section 4.2): the agreement of both sides.

The library `websockets` checks a request and says what is wrong with it. It takes 14 µs, and a
storm of clients sends the same good request again and again. So a request of the usual form is
answered here, in 2 µs; every other one, good or bad, goes to the library.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection
from hashlib import sha1
from http import HTTPStatus
from typing import Final, NamedTuple

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidHeaderValue
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from clarion_contract.service.http_port import refusal_response
from clarion_gateway.transports.request import ConnectionRequest
from clarion_gateway.transports.websocket_core import Core
from clarion_gateway.wire import frames
from clarion_gateway.wire.format import Formats, Framed, WireFormat

_KEY: Final = "sec-websocket-key"
_VERSION: Final = "sec-websocket-version"
_EXTENSIONS: Final = "sec-websocket-extensions"
_PROTOCOL: Final = "sec-websocket-protocol"
_HANDSHAKE_HEADERS: Final = frozenset({_KEY, _VERSION, _EXTENSIONS, _PROTOCOL})
_VERSION_HEADER: Final = "Sec-WebSocket-Version"
_KEPT_HEADERS: Final = frozenset({"Upgrade", "Allow", _VERSION_HEADER})
_SIXTEEN_BYTES: Final = re.compile("[A-Za-z0-9+/]{22}==")
_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, section 5.6.2
_NAMES: Final = re.compile(rf"{_NAME}(?:[ \t]*,[ \t]*{_NAME})*")
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_HEAD: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
)


class Agreed(NamedTuple):
    """The outcome of a handshake that is accepted.

    Attributes:
        head: of the response.
        core: the socket's own, since the two sides have agreed on an extension; None: any will do.
    """

    head: bytes
    format: WireFormat
    core: Core | None


def agree(
    request: ConnectionRequest, formats: Formats, max_bytes: int, *, compression: bool
) -> Agreed | bytes:
    """Agree on a wire format and on extensions.

    Args:
        formats: by subprotocol.
        max_bytes: of a message that comes in.
        compression: whether permessage-deflate may be agreed on.

    Returns:
        The agreement, or the HTTP response that refuses the handshake.
    """
    if not compression:
        agreed = _usual(request, formats)
        if agreed is not None:
            return agreed
    return _agree_at_length(request, formats, Core(max_bytes, compression=compression))


def _usual(request: ConnectionRequest, formats: Formats) -> Agreed | None:
    """Answer a good request, whose offers of extensions are ignored; None: it may be none."""
    lines = [line for line in request.headers if line[0] in _HANDSHAKE_HEADERS]
    said = dict(lines)
    key, names = said.get(_KEY, ""), said.get(_PROTOCOL)
    if len(said) < len(lines) or said.get(_VERSION) != "13" or not _SIXTEEN_BYTES.fullmatch(key):
        return None
    chosen = None
    if names is not None:
        if not _NAMES.fullmatch(names):
            return None
        chosen = _chosen({name.strip(" \t") for name in names.split(",")}, formats)
    if chosen not in formats:
        return None
    accept = b64encode(sha1((key + _GUID).encode(), usedforsecurity=False).digest())
    protocol = b"" if chosen is None else b"Sec-WebSocket-Protocol: %b\r\n" % chosen.encode()
    return Agreed(_HEAD % (accept, protocol), formats[chosen].plain, None)


def _chosen(offered: Collection[str], formats: Formats) -> str | None:
    """The subprotocol that the server likes best of those offered; empty: none of them is known."""
    known = [name for name in formats if name is not None]
    return next((name for name in known if name in offered), "") if known else None


def _agree_at_length(request: ConnectionRequest, formats: Formats, core: Core) -> Agreed | bytes:
    if request.offered_subprotocols or None not in formats:
        core.available_subprotocols = [Subprotocol(name) for name in formats if name is not None]
    head = _head(core, request)
    core.available_subprotocols = None  # frees memory: it is not needed any more
    if isinstance(head, Response):
        return _refusal(head)
    framed = formats[core.subprotocol]
    return Agreed(head, _agreed(framed, core), core if core.extensions else None)


def _agreed(framed: Framed, core: ServerProtocol) -> WireFormat:
    """Choose the framing that the client can read.

    Compressed frames are shared, so a client must accept the window that they were made with. A
    client with a smaller window gets plain frames.
    """
    if framed.deflated is not None:
        for extension in core.extensions:
            if (
                isinstance(extension, PerMessageDeflate)
                and extension.local_max_window_bits >= frames.DEFLATE_WINDOW_BITS
            ):
                return framed.deflated
    return framed.plain


def _head(core: ServerProtocol, request: ConnectionRequest) -> bytes | Response:
    """The head of the response that opens the connection, or the response that refuses it."""
    headers = Headers()
    for name, value in request.headers:
        if name in _HANDSHAKE_HEADERS:
            headers[name] = value
    # The request asks for an upgrade to websocket, maybe among others. The core knows no others.
    headers["Upgrade"], headers["Connection"] = "websocket", "Upgrade"
    handshake = Request(request.path, headers)
    try:
        accept, extensions, subprotocol = core.process_request(handshake)
    except InvalidHandshake as error:
        response = core.accept(handshake)  # fails again, and gives the right status for the error
        if isinstance(error, InvalidHeaderValue) and error.name == _VERSION_HEADER:
            # Except for this error, which needs 426 (RFC 6455, section 4.4).
            response.status_code = HTTPStatus.UPGRADE_REQUIRED
            response.headers["Upgrade"] = "websocket"
            response.headers[_VERSION_HEADER] = "13"
        return response
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    if extensions:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _refusal(response: Response) -> bytes:
    kept = [(k, v) for k, v in response.headers.raw_items() if k in _KEPT_HEADERS]
    return refusal_response(
        response.status_code, response.body.decode().strip(), headers=tuple(kept)
    )
