"""What services may write to a client: HTTP responses, then frames, and nothing that a client made up."""

from __future__ import annotations

import json
import re

from tests.fuzz.target import Broken
from tests.gateway.recorder import frames_of

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d)( [\x20-\x7e]*)?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\x00]*")


def check_answer(written: bytes, *, is_json: bool = True) -> None:
    """Every head is one that the service wrote, and nothing stands between two responses.

    Args:
        is_json: whether the messages of a WebSocket are JSON; those of Socket.IO only contain it.

    Raises:
        Broken: otherwise.
    """
    while written:
        head, end, written = written.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        matched = _STATUS.fullmatch(status)
        if matched is None or not end or not all(map(_FIELD.fullmatch, fields)):
            raise Broken(f"no head of a response: {head[:500]!r}")
        if matched[1] == b"101":
            _check_frames(written, deflate=b"permessage-deflate" in head, is_json=is_json)
            return
        lengths = [f for f in fields if f.lower().startswith(b"content-length:")]
        if not lengths:  # an event stream: it ends with the connection
            return
        written = written[int(lengths[0].partition(b":")[2]) :]


def _check_frames(written: bytes, *, deflate: bool, is_json: bool) -> None:
    for frame in frames_of(written, deflate=deflate):
        if frame.opcode == 1:
            text = frame.data.decode()
            if is_json:
                json.loads(text)
